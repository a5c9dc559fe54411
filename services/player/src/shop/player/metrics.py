"""Counters of player."""

from __future__ import annotations

from prometheus_client import Counter

from shop.games import GAMES
from shop.kit.exposition import start_at_zero

RESULTS = Counter("shop_player_results_total", "Posted results of rounds by what became of them", ["game", "outcome"])
ENTRIES = Counter("shop_player_ledger_entries_total", "Entries of ledgers by the kind of their cause", ["kind"])
PROFILES = Counter("shop_player_profile_reads_total", "Profiles read, by where from", ["source"])

OUTCOMES = (
    "scored", "repeated", "session_invalid", "session_foreign", "session_expired", "session_used", "moves_impossible",
    "too_frequent",
)  # fmt: skip
start_at_zero(RESULTS, GAMES, OUTCOMES)
start_at_zero(ENTRIES, ["order", "order_cancelled", "result", "achievement"])
start_at_zero(PROFILES, ["cache", "database"])
