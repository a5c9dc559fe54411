"""Rounds of games, the players' ledgers, achievements and boards."""

from __future__ import annotations

from observability.dashboards.common import Board, Panel, Query, Row, of, quantile, rate

ROUNDS = Row(
    "Rounds and ledgers",
    [
        Panel(
            "Results",
            "Posted results each minute, by what became of them.",
            "short",
            [Query(f"{rate('shop_player_results_total', by='game, outcome')} * 60", "{{game}} {{outcome}}")],
        ),
        Panel(
            "Entries of ledgers",
            "Each minute, by their cause.",
            "short",
            [Query(f"{rate('shop_player_ledger_entries_total', by='kind')} * 60", "{{kind}}")],
        ),
        Panel(
            "Achievements",
            "Unlocked each minute, the eight most frequent.",
            "short",
            [Query(f"topk(8, {rate('shop_achievement_unlocked_total', by='code')} * 60)", "{{code}}")],
        ),
        Panel(
            "Evaluations",
            "Rounds that were evaluated at once, each minute.",
            "short",
            [Query(f"{rate('shop_achievement_evaluations_total', by='result')} * 60", "{{result}}")],
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
            [Query(f"{rate('shop_leaderboard_scores_total', by='outcome')} * 60", "{{outcome}}")],
        ),
        Panel(
            "Rebuilds",
            "Boards written to the cache anew each minute, by outcome.",
            "short",
            [Query(f"{rate('shop_leaderboard_rebuilds_total', by='outcome')} * 60", "{{outcome}}")],
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
            [Query(f"{rate('shop_leaderboard_cache_mismatches_total')} * 60", "boards")],
            alert="ShopBoardsDiffer",
            orange=0.1,
        ),
    ],
)
BOARD = Board("arcade", "Arcade", "Rounds of games, the players' ledgers, achievements and boards.", [ROUNDS, BOARDS])
