"""Run a service: ``python -m shop.kit.serve order --port 8101``.

One process is one instance: the orchestrator scales, and metrics stay simple.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import errno
import functools
import gc
import logging
import os
import socket
import sys
import time
from collections.abc import Callable
from email.utils import formatdate
from typing import Any

import uvicorn
from pydantic import ValidationError
from uvicorn.server import ServerState

from shop.kit import draining, streams
from shop.kit import logging as json_logging
from shop.kit.protocol import LimitedProtocol

KEEP_ALIVE_S = 75
BACKLOG = 2_048
MAX_ACCEPTED = 1_024
"""New connections that are accepted in one turn of the event loop."""
LINGER_S = 1.0
"""How long a stopping process still serves, until its clients have closed their connections."""
LINGER_POLL_S = 0.02
CLOSE = (b"connection", b"close")
START_FAILED = 3
NO_IPV6 = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)
"""Errors of a kernel without IPv6, although Python supports it."""

log = logging.getLogger("shop.kit.serve")


class DatedState(ServerState):
    """What uvicorn's connections share, with a Date header that is made when a request begins.

    uvicorn makes it once a second, for which an idle process would be woken.
    """

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._second = -1
        self._headers: list[tuple[bytes, bytes]] = []
        super().__init__()

    @property
    def default_headers(self) -> list[tuple[bytes, bytes]]:
        """Always the same list, so headers added later are also in answers to requests that have already begun."""
        second = int(self._now())
        if second != self._second:
            self._second = second
            self._headers[0] = b"date", formatdate(second, usegmt=True).encode()
        return self._headers

    @default_headers.setter
    def default_headers(self, others: list[tuple[bytes, bytes]]) -> None:
        self._headers[:] = [(b"date", b""), *others]
        self._second = -1


class Server(uvicorn.Server):
    """Graceful shutdown that loses no request, and no long pauses for what the start made.

    uvicorn closes idle connections at once, and a request that is just being written to one of them is lost: its
    sender cannot know whether it was carried out. So for LINGER_S seconds every answer has `Connection: close`. After
    that uvicorn closes the connections that were not used meanwhile.

    uvicorn looks ten times a second for whether it should end, which is most of what an idle process does. Here
    setting ``should_exit`` ends the wait, and nothing else is looked for: neither a limit of requests nor a callback.

    libuv accepts one connection in each turn of the event loop, which takes tens of milliseconds in a busy process:
    new clients waited for ten seconds while those with an open connection were answered in one. So the first one that
    is accepted in a turn is followed by all others that wait.
    """

    def __init__(self, config: uvicorn.Config) -> None:
        self._ends = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._listening: list[socket.socket] = []
        self._accepting: set[asyncio.Task[Any]] = set()
        self._accepts_others = False
        super().__init__(config)
        self.server_state = DatedState()

    @property
    def should_exit(self) -> bool:
        return self._should_exit

    @should_exit.setter
    def should_exit(self, value: bool) -> None:
        """From a handler of signals, too."""
        self._should_exit = value
        if value and self._loop is not None:
            self._loop.call_soon_threadsafe(self._ends.set)

    async def main_loop(self) -> None:
        self._loop = asyncio.get_running_loop()
        if not self.should_exit:
            await self._ends.wait()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        json_logging.obey_signals(asyncio.get_running_loop())
        self._listening = sockets or []
        make = self.config.http_protocol_class
        self.config.http_protocol_class = functools.partial(self._accepted, make)  # type: ignore[assignment]
        self.server_state.default_headers = self.config.encoded_headers
        await super().startup(sockets)
        if self.started:
            port = self.servers[0].sockets[0].getsockname()[1]
            log.info("the service answers on port %d", port, extra={"event": "service_started"})
        # Some 100,000 objects live as long as the process: each full collection would look through them again,
        # measured for 100 ms, in which no request is answered.
        gc.freeze()

    def _accepted(self, make: Callable[..., asyncio.Protocol], **options: Any) -> asyncio.Protocol:
        """What uvicorn calls for each connection that libuv has accepted."""
        if not self._accepts_others:
            self._accepts_others = True
            asyncio.get_running_loop().call_soon(self._accept_others, functools.partial(make, **options))
        return make(**options)

    def _accept_others(self, protocol: Callable[[], asyncio.Protocol]) -> None:
        self._accepts_others = False
        loop = asyncio.get_running_loop()
        for listening in self._listening:
            # It is closed while the server stops; without a free descriptor the others wait.
            with contextlib.suppress(OSError):
                for _ in range(MAX_ACCEPTED):
                    connection, _ = listening.accept()
                    task = loop.create_task(loop.connect_accepted_socket(protocol, connection))
                    self._accepting.add(task)
                    task.add_done_callback(self._accepted_one)

    def _accepted_one(self, task: asyncio.Task[Any]) -> None:
        self._accepting.discard(task)
        if not task.cancelled() and (error := task.exception()):
            log.warning("a connection could not be taken: %s", error, extra={"event": "connection_not_taken"})

    async def _accept_no_others(self) -> None:
        """uvicorn ends the connections that it knows: one whose task begins later would be waited for."""
        self._listening = []
        if self._accepting:
            await asyncio.wait(self._accepting)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        log.info("the service ends once its requests are answered", extra={"event": "service_stopping"})
        loop = asyncio.get_running_loop()
        linger_until = loop.time() + LINGER_S
        self.server_state.default_headers.append(CLOSE)
        streams.end_all()
        draining.begin()
        # uvicorn keeps its connections in a set; there is no event to wait for.
        while self.server_state.connections and not self.force_exit and loop.time() < linger_until:  # noqa: ASYNC110
            await asyncio.sleep(LINGER_POLL_S)
        await self._accept_no_others()
        await super().shutdown(sockets)


def listening_sockets(host: str, port: int) -> list[socket.socket]:
    """Bound sockets for ``host``, all addresses if it is empty; OSError when the port is taken."""
    if not host:
        return all_addresses(port)
    return [_bound(socket.AF_INET6 if ":" in host else socket.AF_INET, host, port)]


def all_addresses(port: int) -> list[socket.socket]:
    """Bound sockets for every IPv4 and IPv6 address, for clusters of either family or both.

    Two, because a dual-stack socket would report IPv4 clients as ::ffff:10.0.0.1, which is in no network of IPv4.
    """
    sockets = [_bound(socket.AF_INET, "0.0.0.0", port)]
    if socket.has_ipv6:
        try:
            sockets.append(_bound(socket.AF_INET6, "::", sockets[0].getsockname()[1]))
        except OSError as error:
            if error.errno not in NO_IPV6:
                sockets[0].close()
                raise
    return sockets


def _bound(family: socket.AddressFamily, address: str, port: int) -> socket.socket:
    made = socket.socket(family, proto=socket.IPPROTO_TCP)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind((address, port))
    except OSError:
        made.close()
        raise
    return made


def main() -> None:
    """Serve ``shop.<noun>.main:app`` until SIGTERM, then finish what is in flight."""
    parser = argparse.ArgumentParser(prog="shop.kit.serve", description=main.__doc__)
    noun = os.environ.get("SHOP_SERVICE")
    json_logging.ignore_signals()
    parser.add_argument("service", nargs="?" if noun else None, default=noun, help="its noun, by default $SHOP_SERVICE")
    parser.add_argument("--host", default="", help="an address; by default every one of IPv4 and IPv6")
    parser.add_argument("--port", type=int, default=8000)
    arguments = parser.parse_args()
    try:
        module = __import__(f"shop.{arguments.service}.main", fromlist=["app"])
        settings = __import__(f"shop.{arguments.service}.settings", fromlist=["Settings"]).Settings()
    except ValidationError as error:
        problems = "; ".join(f"SHOP_{'_'.join(map(str, e['loc'])).upper()}: {e['msg']}" for e in error.errors())
        sys.exit(f"{arguments.service}: wrong settings: {problems}")
    except ModuleNotFoundError as error:
        sys.exit(f"{arguments.service}: no such service ({error})")
    json_logging.configure(arguments.service, settings.log_level, count_repeats=True)
    config = uvicorn.Config(
        module.app,
        host=arguments.host or "::",
        port=arguments.port,
        loop="uvloop",
        http=LimitedProtocol,
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=max(1, round(settings.drain_seconds)),
    )
    try:
        sockets = listening_sockets(arguments.host, arguments.port)
    except OSError as error:
        sys.exit(f"{arguments.service}: cannot listen on port {arguments.port}: {error.strerror}")
    server = Server(config)
    with contextlib.suppress(KeyboardInterrupt):
        server.run(sockets)
    if not server.started:
        sys.exit(START_FAILED)


if __name__ == "__main__":
    main()
