"""Counters of player."""

from __future__ import annotations

from prometheus_client import Counter

RESULTS = Counter("shop_player_results_total", "Posted results of rounds by what became of them", ["game", "outcome"])
ENTRIES = Counter("shop_player_ledger_entries_total", "Entries of ledgers by the kind of their cause", ["kind"])
PROFILES = Counter("shop_player_profile_reads_total", "Profiles read, by where from", ["source"])
