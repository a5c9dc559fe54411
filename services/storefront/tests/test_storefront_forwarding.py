"""A stream that is forwarded ends with the browser's connection, however early that is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

from starlette.types import Message

from shop.storefront.live import _Forwarded


async def test_the_source_is_closed_although_the_browser_has_gone_before_the_first_event() -> None:
    closed: list[str] = []
    source = AsyncExitStack()
    source.callback(closed.append, "source")

    async def events() -> AsyncIterator[bytes]:
        yield b"never sent"

    async def gone() -> Message:
        return {"type": "http.disconnect"}

    async def blocked(_: Message) -> None:
        await asyncio.Event().wait()

    await _Forwarded(events(), source)({"type": "http", "asgi": {"spec_version": "2.3"}}, gone, blocked)
    assert closed == ["source"]
