"""What is measured of boards and of their cache."""

from __future__ import annotations

from prometheus_client import Counter, Histogram

from shop.kit.exposition import start_at_zero

SCORES = Counter("shop_leaderboard_scores_total", "Scores by board and what became of them", ["board", "outcome"])
READS = Counter("shop_leaderboard_reads_total", "Reads of boards by what they were answered from", ["source"])
REBUILDS = Counter("shop_leaderboard_rebuilds_total", "Boards written to the cache anew, by outcome", ["outcome"])
REBUILD_SECONDS = Histogram(
    "shop_leaderboard_rebuild_seconds",
    "Time to write a board to the cache anew",
    buckets=(0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0, 30.0, 60.0, 120.0),
)
MISMATCHES = Counter("shop_leaderboard_cache_mismatches_total", "Cached boards that differed from the database")
CACHE_FAILURES = Counter("shop_leaderboard_cache_failures_total", "Changes that the cache did not take")

start_at_zero(READS, ["cache", "database"])
start_at_zero(REBUILDS, ["done", "overtaken", "failed"])
SCORE_OUTCOMES = ("taken", "duplicate", "out_of_range", "too_late")
