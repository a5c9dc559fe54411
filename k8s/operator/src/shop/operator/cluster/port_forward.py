"""Forward ports of pods to this machine through the API server, as `kubectl port-forward` does, without kubectl.

The protocol is the one of Kubernetes' websockets, v4.channel.k8s.io: the first byte of a message is its channel (0 the
port's data, 1 errors), and the first message of each channel repeats the number of the port.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

import aiohttp

from shop.operator.cluster.session import Session
from shop.operator.console import note
from shop.operator.errors import ShopctlError
from shop.operator.kube.api_errors import ApiError
from shop.operator.kube.client import path_of
from shop.operator.kube.kinds import POD, SERVICE
from shop.operator.kube.objects import Object

PROTOCOL = "v4.channel.k8s.io"
DATA, PROBLEM = 0, 1
CHUNK_BYTES = 32_768
LOCALHOST = "127.0.0.1"
DOMAIN = ["svc", "cluster", "local"]
_Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


class Forwards:
    """Forwards are opened on demand and closed together: `async with Forwards(session) as forwards`."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._ports: dict[tuple[str, int], int] = {}
        self._servers: list[asyncio.Server] = []
        self._connections: set[asyncio.Task[None]] = set()
        self._reported: set[str] = set()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for server in self._servers:
            server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def url(self, url: str, default_port: int) -> str:
        """`url` as this machine can use it: with a port here for a Service of the cluster, else unchanged."""
        parts = urlsplit(url)
        port = parts.port or default_port
        found = await self._service(parts.hostname or "")
        if found is None:
            return url
        place = (f"{found['metadata']['name']}.{found['metadata']['namespace']}", port)
        if place not in self._ports:
            self._ports[place] = await self._open(found, port)
        login = parts.netloc.rpartition("@")[0]
        return parts._replace(netloc=f"{login}@{LOCALHOST}:{self._ports[place]}").geturl()

    async def _service(self, host: str) -> Object | None:
        """The Service that `host` names, None when it is a host outside of the cluster."""
        name, *rest = host.split(".")
        namespace, domain = (rest[0], rest[1:]) if rest else (self._session.namespace, [])
        if not name or domain != DOMAIN[: len(domain)]:
            return None
        try:
            return await self._session.kube.get(SERVICE, namespace, name)
        except ApiError:
            if domain or not rest:
                raise
            return None  # a host such as db.example, which no right to look for a Service is needed for

    async def _open(self, service: Object, port: int) -> int:
        pod, target = await self._behind(service, port)
        path = path_of(POD, pod["metadata"]["namespace"], pod["metadata"]["name"], "portforward")

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self._carry(path, target, reader, writer)

        server = await asyncio.start_server(self._supervised(connected), LOCALHOST, 0)
        self._servers.append(server)
        number: int = server.sockets[0].getsockname()[1]
        return number

    def _supervised(self, connected: _Handler) -> _Handler:
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None  # noqa: S101 - asyncio runs every handler as a task
            self._connections.add(task)
            try:
                await connected(reader, writer)
            except (ApiError, OSError) as error:
                self._report(str(error))
            finally:
                self._connections.discard(task)
                writer.close()

        return handle

    async def _behind(self, service: Object, port: int) -> tuple[Object, int]:
        """A ready pod of the Service, and the number of the port there."""
        name, namespace = service["metadata"]["name"], service["metadata"]["namespace"]
        selector = ",".join(f"{label}={value}" for label, value in service["spec"].get("selector", {}).items())
        pods = await self._session.kube.list(POD, namespace, selector) if selector else []
        pod = next(filter(is_ready, pods), None)
        if pod is None:
            raise ShopctlError(f"no pod of Service {name} in namespace {namespace} is ready")
        return pod, port_in(pod, service, port)

    async def _carry(self, path: str, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, until either side ends it."""
        socket = await self._session.kube.websocket(path, {"ports": port}, PROTOCOL)
        try:
            ways = [asyncio.create_task(_upload(reader, socket)), asyncio.create_task(self._download(socket, writer))]
            try:
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for way in ways:
                    way.cancel()
                await asyncio.gather(*ways, return_exceptions=True)
        finally:
            await socket.close()

    async def _download(self, socket: aiohttp.ClientWebSocketResponse, writer: asyncio.StreamWriter) -> None:
        begun = set()
        async for message in socket:
            if message.type is not aiohttp.WSMsgType.BINARY or not message.data:
                continue
            channel, data = message.data[0], message.data[1:]
            if channel not in begun:  # the number of the port
                begun.add(channel)
            elif channel == PROBLEM:
                self._report(data.decode(errors="replace").strip())
            elif channel == DATA:
                writer.write(data)
                await writer.drain()

    def _report(self, problem: str) -> None:
        """Once on stderr; the command itself then fails with what it missed."""
        if problem and problem not in self._reported:
            self._reported.add(problem)
            note(f"port-forward: {' '.join(problem.split())}")


async def _upload(reader: asyncio.StreamReader, socket: aiohttp.ClientWebSocketResponse) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(CHUNK_BYTES):
            await socket.send_bytes(bytes([DATA]) + data)


def is_ready(pod: Object) -> bool:
    """Whether the pod takes connections and is not about to end."""
    conditions = pod.get("status", {}).get("conditions", [])
    ready = any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)
    return ready and "deletionTimestamp" not in pod["metadata"]


def port_in(pod: Object, service: Object, port: int) -> int:
    """The number in the pod of the Service's `port`; ShopctlError when the Service has no such port."""
    found = next((one for one in service["spec"].get("ports", []) if one["port"] == port), None)
    if found is None:
        raise ShopctlError(f"Service {service['metadata']['name']} has no port {port}")
    target = found.get("targetPort", port)
    if isinstance(target, int):
        return target
    every = [one for container in pod["spec"]["containers"] for one in container.get("ports", [])]
    return next((int(one["containerPort"]) for one in every if one.get("name") == target), port)
