"""A client is connected before it is asked for anything: no call with a short deadline waits for a handshake."""

from __future__ import annotations

from typing import Any

import psutil

from services.kit.tests.grpc_service import Caller, calling, serving
from shop.devkit.processes import free_port
from shop.devkit.testing import wait_until


def is_connected(caller: Caller) -> bool:
    return all(one.ready for one in caller.client._connections.values())


def connections_to(port: int) -> set[int]:
    """The client's ports of this process's connections to that port."""
    found: list[Any] = psutil.Process().net_connections("tcp")
    return {one.laddr.port for one in found if one.raddr and one.raddr.port == port and one.status == "ESTABLISHED"}


async def test_a_client_connects_without_a_call() -> None:
    async with serving() as running, calling(running.address) as caller:
        await wait_until(lambda: is_connected(caller))
        assert running.echo.seen == []
        assert await caller.say("hello") == "said hello"


async def test_a_client_connects_to_a_server_that_starts_later() -> None:
    port = free_port()
    async with calling(f"127.0.0.1:{port}") as caller, serving(grpc_port=port):
        await wait_until(lambda: is_connected(caller))


async def test_a_connection_that_the_server_ends_is_replaced_without_a_call() -> None:
    async with serving(grpc_max_connection_age_s=0.5) as running, calling(running.address) as caller:
        seen: set[int] = set()

        def replaced() -> bool:
            seen.update(connections_to(running.port))
            return len(seen) > 2 and is_connected(caller)

        await wait_until(replaced)
        assert running.echo.seen == []
        assert await caller.say("hello") == "said hello"
