"""The better of two random choices among the instances that are usable now, and which those are."""

from __future__ import annotations

import math
import random
import statistics
import time
from collections.abc import Callable, Container, Iterable, Mapping, Sequence

from shop.kit.balancing.breaker import State
from shop.kit.balancing.instance import About, Instance
from shop.kit.balancing.rules import MAX_INFLIGHT, Rules

FEW = 4
"""Up to so many instances all are compared. Of three, two at random would be the same two for a third of the requests,
which is more than they can take when one of them is ill and the other slow."""
MAX_DRAWS = 8
"""Random instances looked at for a request; after that all are."""


class Balancer:
    """The instances of one service. ``now`` is a clock in seconds, ``draw`` returns numbers in 0 <= x < 1, ``opened()``
    is called when a breaker opens.

    Not thread-safe: it belongs to one event loop.
    """

    def __init__(
        self,
        addresses: Iterable[str],
        rules: Rules | None = None,
        now: Callable[[], float] = time.monotonic,
        draw: Callable[[], float] = random.random,
        opened: Callable[[], None] = lambda: None,
    ) -> None:
        self.rules = rules or Rules()
        self.now = now
        self._draw = draw
        self._opened = opened
        self._usable: list[Instance] = []
        self._probes: list[Instance] = []
        self._valid_until = -math.inf
        self._held_until = -math.inf
        """Until then no instance gets requests, by an administrator's decision."""
        self.panicking = False
        """Whether so few are usable that those that do badly are used as well."""
        began = now()
        self.instances = [self._made(address, began) for address in addresses]

    def _made(
        self, address: str, began: float, about: About | None = None, first_latency_s: float | None = None
    ) -> Instance:
        return Instance(
            address,
            self.rules,
            self.now,
            self.changed,
            self._opened,
            began=began,
            first_latency_s=first_latency_s,
            about=about,
        )

    def changed(self) -> None:
        """Which instances are usable is to be found anew."""
        self._valid_until = -math.inf

    def update(self, found: Mapping[str, About]) -> tuple[list[Instance], list[Instance]]:
        """Replace the instances by those at the addresses ``found``; returns which are new and which are gone.

        Those that stay keep what is known of them. New ones start slowly, beside others that are warm.
        """
        now, present = self.now(), {one.base_url: one for one in self.instances}
        latencies = [one.latency_s(now) for one in self.instances]
        expected = statistics.median(latencies) if latencies else None
        kept = [one for url, one in present.items() if url in found]
        added = [self._made(url, now, about, expected) for url, about in found.items() if url not in present]
        if kept:
            for one in added:
                one.warms_up(now)
        if self._held_until > now:
            for one in added:
                one.breaker.hold_open(self._held_until - now)
        for one in kept:
            if one.refused and found[one.base_url].id and one.about != found[one.base_url]:
                # It refused connections at an address of the settings; what is registered there since listens.
                one.refused = False
                one.breaker.succeeded()
            one.about = found[one.base_url]
        self.instances = [*kept, *added]
        self.changed()
        return added, [one for url, one in present.items() if url not in found]

    def hold_open(self, seconds: float) -> None:
        """Send no instance requests for ``seconds``, those included that are found meanwhile."""
        self._held_until = self.now() + seconds
        for one in self.instances:
            one.breaker.hold_open(seconds)

    def close_breakers(self) -> None:
        """Send all instances requests from now on, whatever opened their breakers."""
        self._held_until = -math.inf
        for one in self.instances:
            one.breaker.close()

    @property
    def usable(self) -> int:
        """How many instances take requests now."""
        now = self.now()
        if now >= self._valid_until:
            self._refresh(now)
        return len(self._usable)

    def has_other(self, instance: Instance) -> bool:
        """Whether another than ``instance`` takes requests, and neither asked for a pause nor does badly."""
        now = self.now()
        return any(
            one is not instance and one.healthy and now >= one.paused_until and one.breaker.state is State.CLOSED
            for one in self.instances
        )

    def pick(self, tried: Container[Instance] = (), *, stream: bool = False) -> Instance | None:
        """An instance that takes a request now and is not among ``tried``; None when there is none.

        One whose breaker is half-open gets the request as its probe. A ``stream`` lasts for minutes, in which latencies
        change: it goes where fewer are open, and only among equals by cost.
        """
        now = self.now()
        if now >= self._valid_until:
            self._refresh(now)
        for one in self._probes:
            if one not in tried and one.inflight < MAX_INFLIGHT and one.breaker.allows():
                return one
        found = self._drawn(tried, now)
        if len(found) < 2:
            return found[0] if found else None
        # Among equals chance decides: otherwise all callers would go to the same one.
        return min(found, key=lambda one: (one.streams if stream else 0, one.cost(now), self._draw()))

    def _drawn(self, tried: Container[Instance], now: float) -> Sequence[Instance]:
        """Two different usable instances at random; all of them where they are few.

        A new instance is passed over the more often the newer it is.
        """
        usable, least_warmth = self._usable, self._draw()
        chosen: list[Instance] = []
        if len(usable) > FEW:
            for _ in range(MAX_DRAWS):
                one = usable[int(self._draw() * len(usable))]
                if one in chosen or one in tried or one.inflight >= MAX_INFLIGHT or one.warmth(now) <= least_warmth:
                    continue
                chosen.append(one)
                if len(chosen) == 2:
                    return chosen
        others = [one for one in usable if one not in tried and one.inflight < MAX_INFLIGHT]
        return [one for one in others if one.warmth(now) > least_warmth] or others

    def _refresh(self, now: float) -> None:
        states = [(one, one.breaker.state) for one in self.instances]
        closed = [one for one, state in states if state is State.CLOSED]
        opened = [one for one, state in states if state is State.OPEN]
        self._probes = [one for one, state in states if state is State.HALF_OPEN]
        waits = [one.breaker.retry_after_s for one, state in states if state is not State.CLOSED]
        waits += [one.paused_until - now for one in closed if one.paused_until > now]
        self._valid_until = now + min((wait for wait in waits if wait > 0.0), default=math.inf)
        self._usable = self._enough(closed, opened, now)

    def _enough(self, closed: list[Instance], opened: list[Instance], now: float) -> list[Instance]:
        """The usable ones. When they are too few: also those that asked for a pause, then those that are not healthy,
        at last those that were ejected, as long as any breaker is closed: otherwise the service is down."""
        least = self.rules.panic_share * len(self.instances)
        usable = [one for one in closed if one.healthy and now >= one.paused_until]
        self.panicking = len(usable) < least
        for further in (
            [one for one in closed if one.healthy and now < one.paused_until],
            [one for one in closed if not one.healthy],
            [one for one in opened if not one.refused and closed],
        ):
            if len(usable) < least:
                usable += further
        return usable

    def succeeded(self, instance: Instance, taken_s: float) -> None:
        """``instance`` answered after ``taken_s`` seconds, and not with a fault."""
        now = self.now()
        if instance.breaker.state is State.CLOSED:
            instance.answered(taken_s, now)
        else:
            instance.readmitted(taken_s, now)
        instance.faults.add(now, fault=False)
        instance.breaker.succeeded()

    def faulted(self, instance: Instance, taken_s: float, retry_after_s: float = 0.0) -> None:
        """``instance`` answered, with a fault that may be another service's: it counts against this instance only if
        its others do better."""
        now = self.now()
        instance.failed(taken_s, now)
        instance.faults.add(now, fault=True)
        if retry_after_s > 0.0:
            self.pause(instance, retry_after_s)
        if instance.breaker.state is State.HALF_OPEN:
            if self._is_outlier(instance, now, least_faults=0.0):
                instance.breaker.failed(longer=True)
            else:
                instance.breaker.succeeded()
            return
        outlier = self._is_outlier(instance, now, least_faults=self.rules.faults_to_eject)
        if outlier and instance.breaker.state is State.CLOSED and self._may_eject():
            instance.breaker.open(longer=True)

    def failed(self, instance: Instance, taken_s: float) -> None:
        """``instance`` did not answer, or with a fault of its own."""
        now = self.now()
        instance.failed(taken_s, now)
        instance.faults.add(now, fault=True)
        instance.breaker.failed(longer=self._others_work(instance))

    def pause(self, instance: Instance, seconds: float) -> None:
        """Send ``instance`` nothing for ``seconds``, as long as there are others."""
        instance.paused_until = self.now() + min(seconds, self.rules.max_pause_s)
        self.changed()

    def checked(self, instance: Instance, *, ready: bool, failures_to_act: int) -> None:
        """The result of an active health check; ``failures_to_act`` in a row make the instance unhealthy."""
        instance.failed_checks = 0 if ready else instance.failed_checks + 1
        healthy = instance.failed_checks < failures_to_act
        if healthy and not instance.healthy:
            instance.warms_up(self.now())
        if healthy != instance.healthy:
            instance.healthy = healthy
            self.changed()

    def _others_work(self, instance: Instance) -> bool:
        """Otherwise the service is down, and is to be tried again soon."""
        return any(one.breaker.state is State.CLOSED for one in self.instances if one is not instance)

    def _is_outlier(self, instance: Instance, now: float, least_faults: float) -> bool:
        share = instance.faults.share
        if share is None or instance.faults.count(now) < least_faults:
            return False
        others = [one.faults.share for one in self.instances if one is not instance]
        known = [other for other in others if other is not None]
        return bool(known) and share > self.rules.outlier_share + 2.0 * statistics.median(known)

    def _may_eject(self) -> bool:
        ejected = sum(one.breaker.state is not State.CLOSED for one in self.instances)
        return ejected + 1 <= self.rules.max_ejected_share * len(self.instances)
