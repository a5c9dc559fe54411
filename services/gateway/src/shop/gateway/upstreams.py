"""The instances behind each service: which one gets a request, and which one is left alone for a while."""

from __future__ import annotations

import math
import random
from collections.abc import Container, Sequence

from prometheus_client import Gauge
from yarl import URL

from shop.kit.http.breaker import Breaker, State

MAX_INFLIGHT = 1_024
"""Requests under way at one instance; beyond, a quick 503 serves everyone better than a long line."""
BREAKER_VALUES = {State.CLOSED: 0, State.HALF_OPEN: 1, State.OPEN: 2}

BREAKER = Gauge("shop_gateway_breaker_state", "0 closed, 1 half open, 2 open", ["upstream", "instance"])
INFLIGHT = Gauge("shop_gateway_upstream_inflight", "Requests under way", ["upstream", "instance"])


class Instance:
    def __init__(self, service: str, base_url: str, breaker: Breaker) -> None:
        self.base_url = base_url
        self.breaker = breaker
        self.inflight = 0
        self.refused = False
        """Whether the last request found nobody who took its connection."""
        BREAKER.labels(service, base_url).set_function(lambda: BREAKER_VALUES[breaker.state])
        INFLIGHT.labels(service, base_url).set_function(lambda: self.inflight)

    def url(self, raw_path: bytes, query: bytes) -> URL:
        """The address of a request, byte for byte as the client wrote it."""
        tail = raw_path.decode("ascii")
        return URL(f"{self.base_url}{tail}?{query.decode('ascii')}" if query else self.base_url + tail, encoded=True)


class Upstream:
    """One service. Of two random instances the less busy gets the request; open breakers are passed over."""

    def __init__(self, service: str, urls: Sequence[str], failures_to_open: int, reset_s: float) -> None:
        self.service = service
        self.instances = [Instance(service, url, Breaker(failures_to_open, reset_s)) for url in urls]

    def pick(self, tried: Container[Instance] = ()) -> Instance | None:
        """An instance that takes a request now and is not among ``tried``; None when there is none."""
        if len(self.instances) == 1:
            ordered = self.instances
        else:
            ordered = random.sample(self.instances, len(self.instances))
            ordered[:2] = sorted(ordered[:2], key=lambda instance: instance.inflight)
        for instance in ordered:
            if instance not in tried and instance.inflight < MAX_INFLIGHT and instance.breaker.allows():
                return instance
        return None

    def retry_after_s(self) -> int:
        """Whole seconds, at least 1, until some instance may take a request again."""
        waits = [instance.breaker.retry_after_s for instance in self.instances if instance.breaker.state is State.OPEN]
        return max(1, math.ceil(min(waits, default=1.0)))
