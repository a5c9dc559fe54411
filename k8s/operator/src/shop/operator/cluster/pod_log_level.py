"""The log level of a service's pods: the signal is sent by a command in each container, as with `kubectl exec`.

The protocol is the one of Kubernetes' websockets, v4.channel.k8s.io: the first byte of a message is its channel, 1 and
2 the command's output, 3 how it ended. The user needs the right to create pods/exec.
"""

from __future__ import annotations

import asyncio
import json

import aiohttp

from shop.operator.cluster.pod_logs import Source, pods_of, sources
from shop.operator.cluster.session import Session
from shop.operator.errors import ShopctlError
from shop.operator.kube.client import path_of
from shop.operator.kube.kinds import POD

PROTOCOL = "v4.channel.k8s.io"
OUTPUT, ENDED = (1, 2), 3
COMMAND = ("python", "-m", "shop.kit.log_level")
COMMAND_TIMEOUT_S = 30.0
MAX_OUTPUT_BYTES = 10_000


async def choose(session: Session, name: str, service: str, level: str) -> list[str]:
    """The service's pods, all of which write lines of ``level`` and above now; ShopctlError names one that does not."""
    running = sources(await pods_of(session, name, service), running=True)
    chosen = [source for source in running if not source.is_init and source.container == service]
    if not chosen:
        raise ShopctlError(f"no pod of {service} in {name} runs")
    for source in chosen:
        await _send(session, source, level)
    return [source.pod for source in chosen]


async def _send(session: Session, source: Source, level: str) -> None:
    words = [("command", word) for word in (*COMMAND, level)]
    params = [("container", source.container), ("stdout", "true"), ("stderr", "true"), *words]
    socket = await session.kube.websocket(path_of(POD, session.namespace, source.pod, "exec"), params, PROTOCOL)
    try:
        async with asyncio.timeout(COMMAND_TIMEOUT_S):
            problem = await _problem(socket)
    except TimeoutError:
        problem = f"no answer within {COMMAND_TIMEOUT_S:g} s"
    finally:
        await socket.close()
    if problem:
        raise ShopctlError(f"{source.pod} keeps its log level: {problem}")


async def _problem(socket: aiohttp.ClientWebSocketResponse) -> str:
    """Why the command failed, in one line; empty when it did not."""
    output, ended = b"", None
    async for message in socket:
        if message.type is not aiohttp.WSMsgType.BINARY or not message.data:
            continue
        channel, data = message.data[0], message.data[1:]
        if channel in OUTPUT and len(output) < MAX_OUTPUT_BYTES:
            output += data
        elif channel == ENDED:
            ended = json.loads(data)
    if ended is None:
        return "the connection ended before the command did"
    if ended.get("status") == "Success":
        return ""
    lines = output.decode(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "") or str(ended.get("message", ended))
