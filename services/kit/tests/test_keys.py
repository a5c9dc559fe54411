"""The keys of access tokens are fetched from any instance of the service that issues them."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path
from urllib.parse import unquote, urlsplit

import orjson

from shop.devkit.testing import Tokens, wait_until
from shop.kit.auth import MAX_ISSUERS, Keys
from shop.kit.discovery.dns import DnsDiscovery
from shop.kit.errors import Unavailable
from shop.kit.tasks import Tasks

HOSTS = ("127.0.0.21", "127.0.0.22", "127.0.0.23")
HEAD = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"


async def test_keys_come_from_the_instance_that_answers_of_those_that_discovery_finds(tokens: Tokens) -> None:
    document = Path(unquote(urlsplit(tokens.jwks_url).path)).read_bytes()
    asked: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readline())
        writer.write(HEAD % len(document) + document)
        writer.close()

    async def resolve(host: str, port: int) -> tuple[str, ...]:
        return HOSTS

    server = await asyncio.start_server(answer, HOSTS[-1], 0)
    port = server.sockets[0].getsockname()[1]
    discovery, tasks = DnsDiscovery(resolve), Tasks()
    keys = Keys(f"http://user.invalid:{port}/.well-known/jwks.json", discovery)
    discovery.start(tasks)

    async def loaded() -> bool:
        with contextlib.suppress(Unavailable):
            await keys.ensure_loaded()
            return True
        return False

    assert len(HOSTS) > MAX_ISSUERS
    await wait_until(loaded)
    [key] = orjson.loads(document)["keys"]
    assert await keys.get(key["kid"]) is not None
    assert asked == [b"GET /.well-known/jwks.json HTTP/1.1\r\n"]
    await tasks.stop()
    server.close()
