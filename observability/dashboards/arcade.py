"""Rounds of games, the players' ledgers, achievements and boards."""

from __future__ import annotations

from observability.dashboards.common import Board, Panel, Query, Row, of, per_minute, quantile, rate

ROUNDS = Row(
    "Rounds and ledgers",
    [
        Panel(
            "Results",
            "Posted results each minute, by what became of them.",
            "short",
            [Query(per_minute(rate("shop_player_results_total", by="game, outcome")), "{{game}} {{outcome}}")],
        ),
        Panel(
            "Entries of ledgers",
            "Each minute, by their cause.",
            "short",
            [Query(per_minute(rate("shop_player_ledger_entries_total", by="kind")), "{{kind}}")],
        ),
        Panel(
            "Achievements",
            "Unlocked each minute, the eight most frequent.",
            "short",
            [Query(f"topk(8, {per_minute(rate('shop_achievement_unlocked_total', by='code'))})", "{{code}}")],
        ),
        Panel(
            "Evaluations",
            "Rounds that were evaluated at once, each minute.",
            "short",
            [Query(per_minute(rate("shop_achievement_evaluations_total", by="result")), "{{result}}")],
        ),
        Panel(
            "Waiting clients",
            "Clients that wait for their achievements.",
            "short",
            [Query(f"sum({of('shop_achievement_streams')})", "clients")],
        ),
    ],
)
BOARDS = Row(
    "Boards",
    [
        Panel(
            "Scores",
            "Each minute, by what became of them.",
            "short",
            [Query(per_minute(rate("shop_leaderboard_scores_total", by="outcome")), "{{outcome}}")],
        ),
        Panel(
            "Rebuilds",
            "Boards written to the cache anew each minute, by outcome.",
            "short",
            [Query(per_minute(rate("shop_leaderboard_rebuilds_total", by="outcome")), "{{outcome}}")],
        ),
        Panel(
            "Time of a rebuild",
            "99th percentile.",
            "s",
            [Query(quantile(0.99, "shop_leaderboard_rebuild_seconds"), "p99")],
            orange=10,
            red=60,
        ),
        Panel(
            "Boards that differed",
            "Cached boards each minute that differed from the database and were written anew.",
            "short",
            [Query(per_minute(rate("shop_leaderboard_cache_mismatches_total")), "boards")],
            alert="ShopBoardsDiffer",
            orange=0.1,
        ),
    ],
)
BOARD = Board("arcade", "Arcade", "Rounds of games, the players' ledgers, achievements and boards.", [ROUNDS, BOARDS])
