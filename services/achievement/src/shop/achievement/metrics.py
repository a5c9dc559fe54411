"""What achievement measures."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

from shop.kit.exposition import start_at_zero

UNLOCKED = Counter("shop_achievement_unlocked_total", "Achievements unlocked, by rule", ["code"])
EVALUATIONS = Counter("shop_achievement_evaluations_total", "Rounds evaluated at once, by result", ["result"])
STREAMS = Gauge("shop_achievement_streams", "Clients that wait for their achievements")

start_at_zero(EVALUATIONS, ["new", "known"])
