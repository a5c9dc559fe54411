"""A registry of instances in a key-value bucket of NATS, for where there is no cluster.

Renewals are received by plain subscriptions to the bucket's subjects: they have no state in the server that could be
lost, and the client subscribes again when it connects again. The bucket is read once for what is subscribed to.

A process receives the renewals of the services that it follows, and its own: they are its clock when all others are
gone.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import random
import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from typing import Any

from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.js.api import KeyValueConfig, StorageType
from nats.js.kv import KeyValue
from prometheus_client import Counter, Gauge
from yarl import URL

from shop.kit import draining
from shop.kit.balancing.instance import About
from shop.kit.bus import BROKER_ERRORS, Bus, errors_as_unavailable
from shop.kit.discovery.interface import Changed
from shop.kit.discovery.membership import RENEW_S, SETTLE_S, TTL_S, Membership, Registration
from shop.kit.errors import Unavailable
from shop.kit.tasks import Tasks

log = logging.getLogger(__name__)

RENEWALS = Counter("shop_registry_renewals_total", "Renewals of this instance's registration", ["result"])
MEMBERS = Gauge("shop_registry_instances", "Instances that this process knows by the registry")
BUCKET = "instances"
SUBJECTS = f"$KV.{BUCKET}."
EVERYONE = ">"
"""The keys of all registrations."""
EXPIRE_SHARE = 1 / 6
"""Of TTL_S: how often it is looked for registrations that have expired."""
READY_POLL_S = 0.1
LEAVE_TIMEOUT_S = 0.5
SNAPSHOT_TIMEOUT_S = 2.0
KNOWN_WITHIN_S = 1.0
"""For how long a process that starts waits for the first reading of the bucket; without a broker it starts as well."""
MAX_REGISTRATION_BYTES = 4_096
SHORTEST_SHARE = 0.8
"""Of RENEW_S: renewals of processes that were started together do not stay together."""
AGAIN_SHARE = 0.1
"""Of RENEW_S: the pause after a renewal that failed."""

Ready = Callable[[], Awaitable[bool]]


@dataclass
class _Follower:
    urls: Collection[str]
    """Known before any registration is."""
    changed: Changed
    last: Mapping[str, About] = field(default_factory=dict)


class Registry:
    """One process's view of the registry and, where ``own`` makes one, its own registration.

    ``own()`` is called for each renewal. Nothing is registered before ``announce`` says that the process is ready.
    """

    def __init__(
        self,
        bus: Bus,
        own: Callable[[], Registration] | None = None,
        *,
        ttl_s: float = TTL_S,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._bus = bus
        self._own = own
        self._ttl_s = ttl_s
        self._renew_s = ttl_s * RENEW_S / TTL_S
        self._settle_s = ttl_s * SETTLE_S / TTL_S
        self._now = now
        self.members = Membership(now(), ttl_s, self._renew_s)
        self._followers: dict[str, list[_Follower]] = {}
        self._bucket: KeyValue | None = None
        self._departure: asyncio.Task[None] | None = None
        self._forget: Callable[[], None] | None = None
        self._wanted: set[str] = set()
        """Keys of registrations, with the wildcards of NATS."""
        self._more_wanted = asyncio.Event()
        self._subscribed: set[str] = set()
        """Those whose renewals are received."""
        self._more_subscribed = asyncio.Event()
        self._read: set[str] = set()
        """Those whose registrations were read from the bucket after that."""
        self._all_read = asyncio.Event()
        self._left_meanwhile: set[str] | None = None
        """Registrations that ended while the bucket is read, which may still be in what is read."""
        self._tried = own is None
        """Whether the first registration has succeeded or failed."""
        self._may_renew = asyncio.Event()
        """Set while the process is ready and stays."""

    def start(self, tasks: Tasks) -> None:
        for key in self._own_keys() or {EVERYONE}:
            self._want(key)
        MEMBERS.set_function(self.members.count)
        tasks.start("registry", self._listen)
        tasks.start("registry snapshot", self._read_bucket)
        tasks.start("registry expiry", self._expire)
        if self._own is not None:
            for result in ("ok", "failed"):
                RENEWALS.labels(result)
            tasks.start("registration", self._renew)

    def _own_keys(self) -> set[str]:
        """Its own renewals are received as a clock, and nothing is read from the bucket for them."""
        return set() if self._own is None else {self._own().key}

    async def known(self) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._all_read.wait(), KNOWN_WITHIN_S)

    def announce(self, tasks: Tasks, ready: Ready) -> None:
        """Register this process once ``ready()`` is true and it listens: nobody is sent to one that cannot answer yet.

        It leaves the registry when it begins to stop, while it still listens.
        """
        if self._own is not None:
            self._forget = draining.on_begin(self._depart)
            tasks.start("registration readiness", functools.partial(self._wait_until, ready, self._own().url))

    async def _wait_until(self, ready: Ready, url: str) -> None:
        while not (await ready() and await _accepts(url)):  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(READY_POLL_S)
        if self._departure is None:
            self._may_renew.set()

    def announced(self) -> bool:
        return self._tried

    def _depart(self) -> None:
        if self._departure is None:
            self._departure = asyncio.create_task(self._take_out())

    def follow(self, service: str, urls: Sequence[str], changed: Changed) -> None:
        self._want(f"{service}.*")
        self._followers.setdefault(service, []).append(_Follower([url.rstrip("/") for url in urls], changed))
        if self.members.of(service):
            self._notify(service)

    def follow_all(self) -> None:
        """Know the instances of every service, whether it is followed or not."""
        self._want(EVERYONE)

    def _want(self, keys: str) -> None:
        if EVERYONE in self._wanted or keys in self._wanted:
            return
        if keys == EVERYONE:
            self._wanted.clear()
        self._wanted.add(keys)
        self._all_read.clear()
        self._more_wanted.set()

    async def put(self, registration: Registration) -> None:
        """Register an instance, or renew it; Unavailable while the registry is away."""
        with errors_as_unavailable():
            # A server that has restarted has no bucket, and does not say so, as there are subscribers: unless this is
            # answered, the bucket is made again the next time.
            bucket, self._bucket = await self._open(), None
            await bucket.put(registration.key, registration.model_dump_json().encode())
            self._bucket = bucket

    async def remove(self, key: str) -> None:
        """Take an instance out; Unavailable while the registry is away."""
        with errors_as_unavailable():
            await (await self._open()).delete(key)

    async def leave(self) -> None:
        """Take this process out, unless it is already; nothing fails when the registry is away."""
        if self._forget is None:
            return
        self._forget()
        self._depart()
        if self._departure is not None:
            await self._departure

    async def _take_out(self) -> None:
        registered = self._may_renew.is_set()
        self._may_renew.clear()
        if registered and self._own is not None:
            with contextlib.suppress(Unavailable, TimeoutError):
                await asyncio.wait_for(self.remove(self._own().key), LEAVE_TIMEOUT_S)

    async def _open(self) -> KeyValue:
        if self._bucket is None:
            config = KeyValueConfig(bucket=BUCKET, ttl=self._ttl_s, history=1, storage=StorageType.MEMORY)
            self._bucket = await self._bus.stream.create_key_value(config)
        return self._bucket

    async def _renew(self) -> None:
        while True:
            await self._may_renew.wait()
            pause_s = self._renew_s if await self._renewed() else self._renew_s * AGAIN_SHARE
            self._tried = True
            await asyncio.sleep(pause_s * random.uniform(SHORTEST_SHARE, 1.0))

    async def _renewed(self) -> bool:
        """Whether the registration was renewed. A broker that restarts may never answer what it was sent before."""
        if self._own is None:
            return False
        try:
            async with asyncio.timeout(self._renew_s):
                await self.put(self._own())
                if self._departure is not None:
                    # It left while this was under way.
                    await self.remove(self._own().key)
        except (Unavailable, TimeoutError) as error:
            RENEWALS.labels("failed").inc()
            log.info("not registered: %r", error, extra={"event": "registration_failed"})
            return False
        RENEWALS.labels("ok").inc()
        return True

    async def _listen(self) -> None:
        """Receive the renewals that are wanted. What an earlier run of this loop has missed is read from the bucket."""
        subscriptions: dict[str, Subscription] = {}
        self._subscribed, self._read = set(), self._own_keys()
        try:
            while True:
                self._more_wanted.clear()
                for keys in self._wanted - subscriptions.keys():
                    subscriptions[keys] = await self._bus.subscribe(f"{SUBJECTS}{keys}", self._arrived)
                    self._subscribed.add(keys)
                for keys in subscriptions.keys() - self._wanted:
                    await _end(subscriptions.pop(keys))
                    self._subscribed.discard(keys)
                self._more_subscribed.set()
                await self._more_wanted.wait()
        finally:
            for one in subscriptions.values():
                await _end(one)

    async def _arrived(self, message: Msg) -> None:
        self._take(message.subject.removeprefix(SUBJECTS), message.data)

    def _take(self, key: str, content: bytes) -> None:
        """A renewal, or without content the end of a registration."""
        service = key.partition(".")[0]
        if not content:
            if self._left_meanwhile is not None:
                self._left_meanwhile.add(key)
            if self.members.left(key, self._now()):
                self._notify(service)
            return
        registration = read(key, content)
        if registration is not None and self.members.renewed(registration, self._now()):
            self._notify(service)

    async def _read_bucket(self) -> None:
        """What was registered before this process began to listen.

        Read before that, it would not have what comes or goes meanwhile.
        """
        while True:
            subscribed, known = self._subscribed, self._read
            while unread := subscribed - known:
                await self._read_registrations(unread)
                known |= unread
            if self._wanted <= self._read:
                self._all_read.set()
            await self._more_subscribed.wait()
            self._more_subscribed.clear()

    async def _read_registrations(self, wanted: AbstractSet[str]) -> None:
        self._bucket, left = None, set[str]()
        self._left_meanwhile = left
        try:
            with errors_as_unavailable():
                watcher: Any = await (await self._open()).watchall(ignore_deletes=True)
                try:
                    while (entry := await watcher.updates(SNAPSHOT_TIMEOUT_S)) is not None:
                        is_new = entry.key not in left and not self.members.knows(entry.key)
                        if is_new and _is_among(entry.key, wanted):
                            self._take(entry.key, entry.value or b"")
                finally:
                    await watcher.stop()
        finally:
            self._left_meanwhile = None

    async def _expire(self) -> None:
        while True:
            await asyncio.sleep(self._ttl_s * EXPIRE_SHARE)
            for service in self.members.expired():
                log.info("registrations of %s have expired", service, extra={"event": "registration_expired"})
            for service in self._followers:
                self._notify(service)

    def _notify(self, service: str) -> None:
        registered = {url: one.about() for url, one in self.members.of(service).items()}
        for follower in self._followers.get(service, ()):
            settled = self.members.reachable_s >= self._settle_s
            found = registered if settled else {url: About() for url in follower.urls} | registered
            if found and found != follower.last:
                follower.last = found
                follower.changed(found)


def _is_among(key: str, wanted: AbstractSet[str]) -> bool:
    return not wanted.isdisjoint({EVERYONE, f"{key.partition('.')[0]}.*", key})


async def _end(subscription: Subscription) -> None:
    with contextlib.suppress(*BROKER_ERRORS):
        await subscription.unsubscribe()


async def _accepts(url: str) -> bool:
    """Whether something listens at ``url``."""
    address = URL(url)
    try:
        _, writer = await asyncio.open_connection(address.host, address.port)
    except OSError:
        return False
    writer.close()
    return True


def read(key: str, content: bytes) -> Registration | None:
    """A registration as it is stored; None for what is none."""
    try:
        if len(content) > MAX_REGISTRATION_BYTES:
            raise ValueError("too long")
        registration = Registration.model_validate_json(content)
        if registration.key != key:
            raise ValueError("another key")
    except ValueError:
        log.warning("a registration cannot be read: %s", key, extra={"event": "registration_unreadable"})
        return None
    return registration
