"""A small service for tests of balancing, with the server of `shop.kit.serve`: `python instance_program.py PORT`.

It answers with its process id. POST /behaviour?status=503&delay_s=0.2 changes how it answers from then on.
"""

from __future__ import annotations

import asyncio
import os
import sys
from urllib.parse import parse_qs

import uvicorn
from starlette.types import Receive, Scope, Send

from shop.kit import serve

READY = "/health/ready"
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


def main() -> None:
    port = int(sys.argv[1])
    config = uvicorn.Config(
        app, host="127.0.0.1", port=port, loop="uvloop", lifespan="off", log_config=None, server_header=False
    )
    serve.Server(config).run()


if __name__ == "__main__":
    main()
