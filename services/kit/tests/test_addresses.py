"""Services answer on IPv4 and on IPv6, as in clusters of either family or both."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from typing import Any

import pytest
import uvicorn
import uvloop
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from services.kit.tests.test_serve import Server
from shop.devkit.testing import wait_until
from shop.kit import serve


def has_ipv6_loopback() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


needs_ipv6 = pytest.mark.skipif(not has_ipv6_loopback(), reason="this machine has no IPv6 loopback")


async def who(scope: Scope, receive: Receive, send: Send) -> None:
    body = scope["client"][0].encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


async def seen_address(host: str, port: int) -> str:
    """What the server takes the client's address for."""
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(b"GET / HTTP/1.0\r\n\r\n")
    answer = await reader.read()
    writer.close()
    return answer.rpartition(b"\r\n\r\n")[2].decode()


@needs_ipv6
async def test_both_families_are_served_and_clients_keep_their_addresses() -> None:
    sockets = serve.all_addresses(0)
    server = Server(uvicorn.Config(who, http="httptools", lifespan="off", log_config=None))
    running = asyncio.create_task(server.serve(sockets))
    await wait_until(lambda: server.started)
    port = sockets[0].getsockname()[1]
    seen = [ipaddress.ip_address(await seen_address(host, port)) for host in ("127.0.0.1", "::1")]
    assert [(address.version, address.is_loopback) for address in seen] == [(4, True), (6, True)]
    server.should_exit = True
    await running


WAITING, MAX_TURNS = 50, 10
"""Clients that have connected, and the turns of the event loop in which all of them are to be accepted."""


async def turns_until_accepted() -> int:
    """While the loop was busy, WAITING clients have connected: after how many turns each is accepted."""
    sockets = serve.listening_sockets("127.0.0.1", 0)
    server = Server(uvicorn.Config(who, http="httptools", lifespan="off", log_config=None))
    running = asyncio.create_task(server.serve(sockets))
    await wait_until(lambda: server.started)
    clients = [socket.create_connection(sockets[0].getsockname()) for _ in range(WAITING)]
    turns = 0
    while len(server.server_state.connections) < WAITING:
        await asyncio.sleep(0)
        turns += 1
    for client in clients:
        client.close()
    server.should_exit = True
    await running
    return turns


def test_all_clients_that_wait_are_accepted_at_once() -> None:
    """uvloop, which serves, would accept one in a turn."""
    assert uvloop.run(turns_until_accepted()) <= MAX_TURNS


async def test_a_connection_that_is_being_accepted_ends_with_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """uvicorn ends those that it knows, and would wait for one that it learns of later as long as its client likes."""
    monkeypatch.setattr(serve, "LINGER_S", 0.0)
    loop, go_on = asyncio.get_running_loop(), asyncio.Event()
    accept = loop.connect_accepted_socket

    async def accept_late(*arguments: Any) -> Any:
        await go_on.wait()
        return await accept(*arguments)

    monkeypatch.setattr(loop, "connect_accepted_socket", accept_late)
    server = Server(uvicorn.Config(who, http="httptools", lifespan="off", log_config=None))
    running = asyncio.create_task(server.serve(serve.listening_sockets("127.0.0.1", 0)))
    await wait_until(lambda: server.started)
    with socket.create_server(("127.0.0.1", 0)) as waiting, socket.create_connection(waiting.getsockname()):
        waiting.setblocking(False)
        server._listening = [waiting]
        server._accepted(HttpToolsProtocol, config=server.config, server_state=server.server_state, app_state={})
        await wait_until(lambda: server._accepting)
        server.should_exit = True
        await wait_until(lambda: not server._listening)
        go_on.set()
        await asyncio.wait_for(running, 10.0)


async def test_a_connection_that_cannot_be_taken_is_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(*_: object) -> None:
        raise OSError("no buffer space")

    server = Server(uvicorn.Config(who, http="httptools", lifespan="off", log_config=None))
    monkeypatch.setattr(asyncio.get_running_loop(), "connect_accepted_socket", fail)
    with socket.create_server(("127.0.0.1", 0)) as waiting, socket.create_connection(waiting.getsockname()):
        waiting.setblocking(False)
        server._listening = [waiting]
        server._accept_others(asyncio.Protocol)
        await wait_until(lambda: not server._accepting)
    assert "a connection could not be taken: no buffer space" in caplog.text


@needs_ipv6
def test_a_port_that_is_taken_on_ipv6_alone_is_taken() -> None:
    with socket.create_server(("::", 0), family=socket.AF_INET6) as other, pytest.raises(OSError, match="in use"):
        serve.all_addresses(other.getsockname()[1])
