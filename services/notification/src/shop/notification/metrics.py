"""What notification measures."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

from shop.kit.exposition import start_at_zero

SENT = Counter("shop_notification_messages_total", "Attempts to send a message, by outcome", ["channel", "outcome"])
UP = Gauge("shop_notification_provider_up", "1 while the provider of the channel can be reached", ["channel"])
QUEUED = Gauge("shop_notification_queued", "Messages that wait to be sent, as of the last count", ["channel"])
OUTCOMES = ("sent", "failed", "deferred")


def expect(channel: str) -> None:
    """Make the time series of a channel that this shop has."""
    start_at_zero(SENT, [channel], OUTCOMES)
    QUEUED.labels(channel)
