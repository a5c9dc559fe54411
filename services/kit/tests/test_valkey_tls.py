"""Commands over TLS: the certificate of the server must be of the authority that the URL names."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import ipaddress
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from shop.kit.valkey_pipeline import ValkeyPipeline

TIMEOUT_S = 10.0
DAY = datetime.timedelta(days=1)
CHUNK_BYTES = 65_536


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A certificate of 127.0.0.1 that signs itself, followed by its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "valkey")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now - DAY, now + DAY)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    encoding = serialization.Encoding.PEM
    private = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path = tmp_path / "valkey.pem"
    path.write_bytes(made.public_bytes(encoding) + private)
    return path


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
