"""HTTP requests to the shop's own services without a client library, so that shopctl starts quickly."""

import asyncio
import json
from typing import Any

TIMEOUT_S = 3.0
MAX_ANSWER_BYTES = 1_000_000


async def get(port: int, path: str, timeout_s: float = TIMEOUT_S) -> tuple[int, bytes]:
    """Status and body of `GET http://127.0.0.1:port/path`; status 0 when there is no response in time."""
    try:
        return await asyncio.wait_for(_get(port, path), timeout_s)
    except (OSError, TimeoutError, ValueError, EOFError):
        return 0, b""


async def _get(port: int, path: str) -> tuple[int, bytes]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=MAX_ANSWER_BYTES)
    try:
        # HTTP/1.0: the answer ends with the connection and is never chunked.
        writer.write(f"GET {path} HTTP/1.0\r\nHost: 127.0.0.1:{port}\r\nAccept: application/json\r\n\r\n".encode())
        await writer.drain()
        answer = await reader.read(MAX_ANSWER_BYTES)
        while chunk := await reader.read(MAX_ANSWER_BYTES - len(answer)):
            answer += chunk
        head, _, body = answer.partition(b"\r\n\r\n")
        return int(head.split(b" ", 2)[1]), body
    finally:
        writer.close()


async def is_ready(port: int) -> bool:
    """Whether the service is ready."""
    return (await get(port, "/health/ready"))[0] == 200


async def health(port: int) -> tuple[bool, str]:
    """Whether the service can do its work, and what it reports as degraded then."""
    status, body = await get(port, "/health/ready")
    if status != 200:
        return False, ""
    checks: dict[str, str] = json.loads(body).get("checks", {})
    return True, "; ".join(f"{name}: {result}" for name, result in checks.items() if result != "ok")


async def first_product(port: int) -> dict[str, Any] | None:
    """A product as a customer sees it through the gateway, None while there is none."""
    status, body = await get(port, "/api/v1/products?limit=1")
    if status != 200:
        return None
    items = json.loads(body).get("items") or [None]
    product: dict[str, Any] | None = items[0]
    return product
