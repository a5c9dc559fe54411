"""What restaurant counts; labels have few values."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

from shop.contracts.restaurant import FoodStatus
from shop.kit.exposition import start_at_zero

TICKETS = Counter("shop_restaurant_tickets_total", "Answers to orders that were brought to a kitchen", ["answer"])
STREAMS = Gauge("shop_restaurant_streams", "Clients that watch the tickets of a restaurant")

start_at_zero(TICKETS, [FoodStatus.ACCEPTED, FoodStatus.WAITING, FoodStatus.REJECTED])
