"""What restaurant counts; labels have few values."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

TICKETS = Counter("shop_restaurant_tickets_total", "Answers to orders that were brought to a kitchen", ["answer"])
STREAMS = Gauge("shop_restaurant_streams", "Clients that watch the tickets of a restaurant")
