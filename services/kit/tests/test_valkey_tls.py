"""Commands over TLS: the certificate of the server must be of the authority that the URL names."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from services.kit.tests.certificates import self_signed
from shop.kit.valkey_pipeline import ValkeyPipeline

TIMEOUT_S = 10.0
CHUNK_BYTES = 65_536


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    return self_signed(tmp_path)


@contextlib.asynccontextmanager
async def tls_in_front_of(url: str, certificate: Path) -> AsyncIterator[str]:
    """The URL of a proxy that ends TLS in front of the server at ``url``: the Valkey of the tests has no TLS."""
    to = urlsplit(url)

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection(to.hostname, to.port)
        await asyncio.gather(_copy(reader, server_writer), _copy(server_reader, writer))

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    server = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=context)
    user = to.netloc.rpartition("@")[0]
    yield f"rediss://{user}@127.0.0.1:{server.sockets[0].getsockname()[1]}{to.path}"
    server.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(CHUNK_BYTES):
            writer.write(data)
            await writer.drain()
    writer.close()


async def test_commands_are_answered_over_tls(valkey_url: str, certificate: Path) -> None:
    async with tls_in_front_of(valkey_url, certificate) as url:
        valkey = ValkeyPipeline(f"{url}?ssl_ca_certs={certificate}", timeout_s=TIMEOUT_S)
        answers = await asyncio.gather(*(valkey.execute("ECHO", number) for number in range(3)))
        assert answers == [b"0", b"1", b"2"]
        await valkey.close()


async def test_a_server_with_a_certificate_of_another_authority_gets_no_command(
    valkey_url: str, certificate: Path
) -> None:
    async with tls_in_front_of(valkey_url, certificate) as url:
        valkey = ValkeyPipeline(url, timeout_s=TIMEOUT_S)
        with pytest.raises(ssl.SSLCertVerificationError, match="self-signed certificate"):
            await valkey.execute("ECHO", "secret")
        await valkey.close()
