"""Connections of redis-py to a real Valkey."""

from __future__ import annotations

import asyncio

from shop.devkit import embedded
from shop.kit.valkey import open_valkey

CONNECTIONS = 5


async def test_every_connection_is_made_again_after_a_restart(valkey_server: embedded.Server, valkey_url: str) -> None:
    valkey = open_valkey(valkey_url, connections=CONNECTIONS, timeout_s=2.0)
    try:
        await asyncio.gather(*(valkey.ping() for _ in range(CONNECTIONS)))
        # In a thread, so that this loop sees the connections being closed.
        await asyncio.to_thread(valkey_server.stop)
        await asyncio.to_thread(valkey_server.start)
        assert all(await asyncio.gather(*(valkey.ping() for _ in range(CONNECTIONS))))
        async with valkey.pipeline(transaction=True) as pipe:
            pipe.ping()
            assert await pipe.execute() == [True]
    finally:
        await valkey.aclose()
