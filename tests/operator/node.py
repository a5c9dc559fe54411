"""A node's side of `logs`, `port-forward` and `exec`, behind a real API server: it has no containers, only their output
and processes of this machine."""

from __future__ import annotations

import asyncio
import json
import ssl
import sys
from asyncio.subprocess import PIPE
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from aiohttp import WSMsgType, web

from shop.devkit.processes import free_port
from shop.operator.kube.client import Kube
from shop.operator.kube.kinds import POD, Kind
from shop.operator.kube.objects import Object
from tests.operator.certificates import Authority

NODE = Kind("v1", "Node", "nodes")
PROTOCOL = "v4.channel.k8s.io"
BUFFER_BYTES = 65_536
Log = list[tuple[str, str]]
"""Times and lines."""


@dataclass
class Node:
    """What containers have written, by pod and container, where the ports of pods lead, and pods' main processes."""

    name: str
    logs: dict[tuple[str, str], Log] = field(default_factory=lambda: defaultdict(list))
    ports: dict[int, int] = field(default_factory=dict)
    processes: dict[str, int] = field(default_factory=dict)
    following: list[web.Request] = field(default_factory=list)
    grown: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def write(self, pod: str, container: str, *lines: str) -> None:
        """Lines that a container prints now."""
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f000Z")
        log = self.logs[pod, container]
        log += [(f"{now[:-4]}{len(log):03}Z", line) for line in lines]
        async with self.grown:
            self.grown.notify_all()

    async def cut(self) -> None:
        """Break every connection over which a log is followed."""
        for request in list(self.following):
            if request.transport is not None:
                request.transport.abort()

    async def container_log(self, request: web.Request) -> web.StreamResponse:
        """As kubelet's /containerLogs."""
        log = self.logs[request.match_info["pod"], request.match_info["container"]]
        response = web.StreamResponse()
        await response.prepare(request)
        query = request.query
        tail = int(query["tailLines"]) if "tailLines" in query else len(log)
        place = max(0, len(log) - tail)
        if "sinceTime" in query:  # kubelet knows it to the second only
            since = query["sinceTime"][:19]
            place = next((number for number, (time, _) in enumerate(log) if time[:19] >= since), len(log))
        await self._send(response, request, log, place)
        return response

    async def _send(self, response: web.StreamResponse, request: web.Request, log: Log, place: int) -> None:
        follows = request.query.get("follow") == "true"
        if follows:
            self.following.append(request)
        try:
            while True:
                for time, line in log[place:]:
                    text = f"{time} {line}\n" if request.query.get("timestamps") == "true" else f"{line}\n"
                    await response.write(text.encode())
                place = len(log)
                if not follows:
                    return
                async with self.grown:
                    while len(log) == place:
                        await self.grown.wait()
        finally:
            if follows:
                self.following.remove(request)

    async def port_forward(self, request: web.Request) -> web.WebSocketResponse:
        """As kubelet's /portForward over websockets, for one port."""
        socket = web.WebSocketResponse(protocols=(PROTOCOL,))
        await socket.prepare(request)
        port = int(request.query["port"])
        for channel in (0, 1):
            await socket.send_bytes(bytes([channel]) + port.to_bytes(2, "little"))
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.ports[port])
        except (KeyError, OSError):
            await socket.send_bytes(b"\x01" + f"nothing listens on port {port}".encode())
            await socket.close()
            return socket
        sending = asyncio.create_task(_send_all(reader, socket))
        async for message in socket:
            if message.type is WSMsgType.BINARY and message.data[0] == 0:
                writer.write(message.data[1:])
        sending.cancel()
        writer.close()
        return socket

    async def execute(self, request: web.Request) -> web.WebSocketResponse:
        """As kubelet's /exec over websockets, of a Python command that acts on a process, which is not 1 here."""
        socket = web.WebSocketResponse(protocols=(PROTOCOL,))
        await socket.prepare(request)
        _, *words = request.query.getall("command")
        command = (sys.executable, *words, str(self.processes[request.match_info["pod"]]))
        process = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=PIPE)
        for channel, data in zip((1, 2), await process.communicate(), strict=True):
            await socket.send_bytes(bytes([channel]) + data)
        failed = {"status": "Failure", "message": f"command terminated with exit code {process.returncode}"}
        status = failed if process.returncode else {"status": "Success"}
        await socket.send_bytes(b"\x03" + json.dumps(status).encode())
        await socket.close()
        return socket


async def _send_all(reader: asyncio.StreamReader, socket: web.WebSocketResponse) -> None:
    while data := await reader.read(BUFFER_BYTES):
        await socket.send_bytes(b"\x00" + data)
    await socket.close()


@asynccontextmanager
async def running(api: Kube, authority: Authority, name: str) -> AsyncIterator[Node]:
    """The node serves while the block runs, and the API server knows where."""
    node, port = Node(name), free_port()
    app = web.Application()
    app.router.add_get("/containerLogs/{namespace}/{pod}/{container}", node.container_log)
    app.router.add_route("*", "/portForward/{namespace}/{pod}", node.port_forward)
    app.router.add_route("*", "/exec/{namespace}/{pod}/{container}", node.execute)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(*authority.issue("kubelet"))
    runner = web.AppRunner(app, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, ssl_context=tls).start()
    await api.create(NODE, {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}})
    status = {
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
    }
    await api.patch(NODE, None, name, {"status": status}, subresource="status")
    try:
        yield node
    finally:
        await api.delete(NODE, None, name)
        await runner.cleanup()


async def run_pod(api: Kube, pod: Object, node: Node, *, ready: bool = True) -> Object:
    """A pod on `node` whose containers run."""
    metadata = pod["metadata"]
    await api.create(POD, {**pod, "spec": {**pod["spec"], "nodeName": node.name}})
    names = [container["name"] for container in pod["spec"]["containers"]]
    status = {
        "phase": "Running",
        "conditions": [{"type": "Ready", "status": str(ready)}],
        "containerStatuses": [
            {
                "name": name,
                "image": "x",
                "imageID": "x",
                "restartCount": 0,
                "ready": ready,
                "state": {"running": {"startedAt": "2026-11-22T08:00:00Z"}},
            }
            for name in names
        ],
    }
    return await api.patch(POD, metadata["namespace"], metadata["name"], {"status": status}, subresource="status")
