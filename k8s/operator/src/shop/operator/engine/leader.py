"""Leader election: a Lease that the leader renews and the others watch.

A standby takes over when it has itself seen no renewal for the Lease's duration; clocks of different machines are
never compared. The leader gives up earlier than that after its last renewal, so that it has stopped by then.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from datetime import UTC, datetime

from shop.operator.kube.api_errors import ApiError, Conflict, NotFound
from shop.operator.kube.client import Kube
from shop.operator.kube.kinds import LEASE
from shop.operator.kube.objects import Object

DURATION_S = 15
"""This and DEADLINE_S are those of Kubernetes' own controllers: a leader on a busy node must not give up at once."""
RENEW_S = 2.0
DEADLINE_S = 10.0
"""Without a renewal for so long the leader gives up. Less than DURATION_S."""
ATTEMPT_S = 4.0
"""For one request; a renewal that hangs must leave time for another."""
POLL_S = 2.0
"""How often a standby reads the Lease. The longest takeover: DURATION_S and twice this."""
RETRY_S = 0.25
JITTER = 0.2

logger = logging.getLogger(__name__)


class Lease:
    """`await acquire()`, then work until `await hold()` returns; `release()` when done, so that no standby waits."""

    def __init__(self, kube: Kube, namespace: str, name: str, identity: str) -> None:
        self.identity = identity
        self._kube, self._namespace, self._name = kube, namespace, name
        self._lease: Object = {}
        self._renewed = 0.0
        self._seen = "", 0.0

    async def acquire(self) -> None:
        """Wait until this process leads."""
        logger.info("%s waits for the Lease %s/%s", self.identity, self._namespace, self._name)
        last_error = ""
        while True:
            try:
                if await self._try_acquire():
                    logger.info("%s leads", self.identity)
                    return
                last_error = ""
            except (ApiError, TimeoutError) as error:
                if last_error != (last_error := str(error) or "no answer in time"):
                    logger.warning("Lease %s/%s: %s", self._namespace, self._name, last_error)
            await asyncio.sleep(POLL_S * random.uniform(1 - JITTER, 1))

    async def hold(self) -> None:
        """Renew for as long as possible; return when this process no longer leads.

        A process that was paused tries once more: it goes on leading if no other process wrote the Lease.
        """
        failing = False
        while (left := self._renewed + DEADLINE_S - time.monotonic()) > 0 or not failing:
            started = time.monotonic()
            try:
                async with asyncio.timeout(min(ATTEMPT_S, left) if left > 0 else ATTEMPT_S):
                    if not await self._renew():
                        logger.warning(
                            "%s no longer leads: the Lease is held by %s", self.identity, self._holder() or "nobody"
                        )
                        return
            except (ApiError, TimeoutError) as error:
                logger.warning("renewing the Lease: %s", str(error) or "no answer in time")
                failing = True
                await asyncio.sleep(RETRY_S)
            else:
                failing = False
                await asyncio.sleep(max(0.0, started + RENEW_S - time.monotonic()))
        logger.warning("%s no longer leads: no renewal for %g s", self.identity, DEADLINE_S)

    async def release(self) -> None:
        """Let another process lead at once; if that fails, the others wait until the Lease expires."""
        try:
            async with asyncio.timeout(ATTEMPT_S):
                self._lease = await self._read()
                if self._holder() == self.identity:
                    await self._write(holder="", duration_s=1)
        except (ApiError, TimeoutError) as error:
            logger.warning("releasing the Lease: %s", str(error) or "no answer in time")

    async def _try_acquire(self) -> bool:
        """Take the Lease if nobody holds it, or if this process has seen no renewal for its duration."""
        async with asyncio.timeout(2 * ATTEMPT_S):
            self._lease, now = await self._read(), time.monotonic()
            if self._holder() not in ("", self.identity):
                version = self._lease["metadata"]["resourceVersion"]
                if self._seen[0] != version:
                    self._seen = version, now
                if now - self._seen[1] < self._lease["spec"].get("leaseDurationSeconds", DURATION_S):
                    return False
            try:
                await self._write(holder=self.identity)
            except Conflict:  # another process was faster
                return False
            return True

    async def _renew(self) -> bool:
        """Whether this process still leads, as the server says."""
        try:
            await self._write(holder=self.identity)
        except (Conflict, NotFound):  # our own lost response, or another process
            self._lease = await self._read()
            if self._holder() != self.identity:
                return False
            await self._write(holder=self.identity)
        return True

    def _holder(self) -> str:
        return str(self._lease.get("spec", {}).get("holderIdentity") or "")

    async def _read(self) -> Object:
        return await self._kube.get(LEASE, self._namespace, self._name) or {}

    async def _write(self, *, holder: str, duration_s: int | None = None) -> None:
        """Conflict when it is not as last read. The time of a renewal counts from before it was sent."""
        started, now = time.monotonic(), datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        old = self._lease.get("spec", {})
        spec = {**old, "holderIdentity": holder, "leaseDurationSeconds": duration_s or DURATION_S, "renewTime": now}
        if holder != self._holder():
            spec |= {"acquireTime": now, "leaseTransitions": old.get("leaseTransitions", -1) + 1}
        metadata = self._lease.get("metadata") or {"name": self._name, "namespace": self._namespace}
        lease = {"apiVersion": LEASE.api_version, "kind": LEASE.kind, "metadata": metadata, "spec": spec}
        self._lease = await (self._kube.replace if self._lease else self._kube.create)(LEASE, lease)
        self._renewed = started
