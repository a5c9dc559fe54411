"""Answers for readers, serialised once and kept until what they show changes.

A process drops an answer before it answers the change, so a later read gets the new one. Other instances
are sent the ids; an administrator's change is answered when they have confirmed it. What gets lost between them, and
what changes the database past the service, is seen after the time to live.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple
from uuid import UUID, uuid4

import cachetools
import orjson

from shop.kit.bus import Bus

MAX_PRODUCTS = 2_048
MAX_PAGES = 256
"""Each reservation looks through all of them."""
ETAG_BYTES = 9
SUBJECT = "live.product.reads"
MAX_OTHER_INSTANCES = 1_000

type Found = tuple[bytes, Collection[UUID]]
"""A document and the products that it shows."""


class Answer(NamedTuple):
    """``etag`` changes with the body."""

    body: bytes
    etag: str


class _Page(NamedTuple):
    answer: Answer
    shown: frozenset[UUID]


class _Reading:
    """A read of the database, and what has changed since it began."""

    def __init__(self) -> None:
        self.changed: set[UUID] = set()
        self.listings_changed = False


class ReadCache:
    """Documents of products by id and pages by key, for at most ``ttl_s`` seconds.

    What a change concerns is dropped; what is being read then is returned, but not kept.
    """

    def __init__(self, ttl_s: float) -> None:
        self._products: cachetools.TTLCache[UUID, Answer] = cachetools.TTLCache(MAX_PRODUCTS, ttl_s)
        self._pages: cachetools.TTLCache[object, _Page] = cachetools.TTLCache(MAX_PAGES, ttl_s)
        self._readings: set[_Reading] = set()

    async def products(
        self, ids: Sequence[UUID], read: Callable[[Sequence[UUID]], Awaitable[Mapping[UUID, bytes]]]
    ) -> list[Answer]:
        """Of those that exist, in the order of ``ids``; ``read`` gets the ones that are not kept."""
        found = {one: kept for one in ids if (kept := self._products.get(one)) is not None}
        if missing := [one for one in ids if one not in found]:
            with self._reading() as reading:
                for product_id, body in (await read(missing)).items():
                    found[product_id] = answer_of(body)
                    if product_id not in reading.changed:
                        self._products[product_id] = found[product_id]
        return [found[one] for one in ids if one in found]

    async def page(self, key: object, read: Callable[[], Awaitable[Found]]) -> Answer:
        """The answer that is kept under ``key``, or what ``read`` returns."""
        if (kept := self._pages.get(key)) is not None:
            return kept.answer
        with self._reading() as reading:
            body, shown = await read()
            page = _Page(answer_of(body), frozenset(shown))
            if not reading.listings_changed and reading.changed.isdisjoint(page.shown):
                self._pages[key] = page
        return page.answer

    def invalidate(self, ids: Collection[UUID], *, listings: bool) -> None:
        """Drop what shows these products; with ``listings`` every page, since others may be listed from now on."""
        for reading in self._readings:
            reading.changed.update(ids)
            reading.listings_changed |= listings
        for product_id in ids:
            self._products.pop(product_id, None)
        if listings:
            self._pages.clear()
        elif self._pages:
            for key in [key for key, page in self._pages.items() if not page.shown.isdisjoint(ids)]:
                self._pages.pop(key, None)

    @contextlib.contextmanager
    def _reading(self) -> Iterator[_Reading]:
        reading = _Reading()
        self._readings.add(reading)
        try:
            yield reading
        finally:
            self._readings.discard(reading)


def answer_of(body: bytes) -> Answer:
    """The document with its tag."""
    return Answer(body, f'"{hashlib.blake2b(body, digest_size=ETAG_BYTES).hexdigest()}"')


class OtherInstances:
    """The other instances of the service that keep answers, as far as they are known.

    Each says that it is there when it connects, and those that receive it answer, so a single instance sends nothing
    for a change. One that does not confirm within ``wait_s`` seconds, the time to live of its answers, is forgotten.
    """

    def __init__(self, bus: Bus, cache: ReadCache, wait_s: float) -> None:
        self._bus = bus
        self._cache = cache
        self._wait_s = wait_s
        self._name = uuid4().hex
        self._known: set[str] = set()
        self._unconfirmed: dict[str, set[str]] = {}
        self._confirmed = asyncio.Event()

    @property
    def known(self) -> frozenset[str]:
        return frozenset(self._known)

    async def invalidated(self, ids: Collection[UUID]) -> None:
        """Tell the others that the stock of these products changed."""
        if self._known:
            await self._send("changed", ids=[str(one) for one in ids])

    async def invalidated_everywhere(self, ids: Collection[UUID]) -> None:
        """Tell them that these products changed, and wait until none of them has an older answer."""
        if not self._known or not self._bus.connected:
            return
        change, waiting = uuid4().hex, set(self._known)
        self._unconfirmed[change] = waiting
        try:
            await self._send("changed", ids=[str(one) for one in ids], listings=True, change=change)
            async with asyncio.timeout(self._wait_s):
                while waiting:
                    self._confirmed.clear()
                    await self._confirmed.wait()
        except TimeoutError:
            self._known -= waiting
        finally:
            del self._unconfirmed[change]

    async def receive(self) -> None:
        """Drop what the others say has changed, for as long as the service runs."""
        subscribed, changed = asyncio.Event(), asyncio.Event()
        forget = self._bus.on_change(changed.set)
        announcing = asyncio.create_task(self._announce(subscribed, changed))
        try:
            async for message in self._bus.messages(SUBJECT, subscribed):
                await self._received(orjson.loads(message.data))
        finally:
            forget()
            announcing.cancel()

    async def _announce(self, subscribed: asyncio.Event, changed: asyncio.Event) -> None:
        """Say that it is there, and again after each lost connection."""
        await subscribed.wait()
        while True:
            changed.clear()
            await self._send("here")
            await changed.wait()

    async def _received(self, message: Mapping[str, Any]) -> None:
        sender = message["from"]
        if sender == self._name:
            return
        is_new = sender not in self._known and len(self._known) < MAX_OTHER_INSTANCES
        if is_new:
            self._known.add(sender)
        if message["kind"] == "changed":
            self._cache.invalidate([UUID(one) for one in message["ids"]], listings=message.get("listings", False))
            if "change" in message:
                await self._send("dropped", change=message["change"])
        elif message["kind"] == "dropped":
            self._unconfirmed.get(message["change"], set()).discard(sender)
            self._confirmed.set()
        elif is_new:
            await self._send("here")

    async def _send(self, kind: str, **about: Any) -> None:
        await self._bus.broadcast(SUBJECT, orjson.dumps({"from": self._name, "kind": kind, **about}))
