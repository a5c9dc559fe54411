"""Processes of a small service for tests of balancing, with the server of `shop.kit.serve`.

For each line of its input, which is a port, the program forks a process that serves there, and writes its id: importing
the server takes longer than all else. Its children end with it.

They answer with their ids. POST /behaviour?status=503&delay_s=0.2 changes how one answers from then on.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from urllib.parse import parse_qs

import uvicorn
from starlette.types import Receive, Scope, Send

from shop.kit import serve

READY = "/health/ready"
LINGER_S = 5.0
"""Longer than in a service: on a busy machine a caller may not come to a connection within a second, and its next
request crosses the end of it. The process ends earlier, once each connection was used."""
_behaviour = {"status": "200", "delay_s": "0"}


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Any path; a real service repeats the request's id, too."""
    if scope["path"] == "/behaviour":
        _behaviour.update({name: values[0] for name, values in parse_qs(scope["query_string"].decode()).items()})
    ordinary = scope["path"] not in ("/behaviour", READY)
    if ordinary and (delay_s := float(_behaviour["delay_s"])):
        await asyncio.sleep(delay_s)
    headers = [pair for pair in scope["headers"] if pair[0] == b"x-request-id"]
    status = int(_behaviour["status"]) if ordinary else 200
    body = str(os.getpid()).encode()
    headers += [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def serve_at(port: int) -> None:
    serve.LINGER_S = LINGER_S
    config = uvicorn.Config(
        app, host="127.0.0.1", port=port, loop="uvloop", lifespan="off", log_config=None, server_header=False
    )
    serve.Server(config).run()


def main() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the children
    children = []
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            serve_at(int(line))
            os._exit(0)
        children.append(child)
        print(child, flush=True)
    for child in children:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)


if __name__ == "__main__":
    main()
