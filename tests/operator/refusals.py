"""Ways in which an API server refuses a Shop's objects: a quota, admission webhooks that fail, names that are taken."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

from shop.operator.kube.client import Kube
from shop.operator.kube.kinds import SERVICE, Kind
from shop.operator.kube.objects import Object
from tests.operator.apiserver import ApiServer

QUOTA = Kind("v1", "ResourceQuota", "resourcequotas")
WEBHOOK = Kind("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration", "validatingwebhookconfigurations")
WEBHOOK_TIMEOUT_S = 2
"""How long the API server waits for a webhook that does not respond."""
LONGEST_WEBHOOK_S = 30
"""The longest timeout that the API server allows for a webhook."""
ANSWER_500 = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
type Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def quota_without_secrets(api: Kube, namespace: str) -> None:
    """A quota as its controller leaves it: no controller runs here."""
    body: Object = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none", "namespace": namespace}}
    body["spec"] = {"hard": {"count/secrets": "0"}}
    await api.create(QUOTA, body)
    status = {"status": {"hard": {"count/secrets": "0"}, "used": {"count/secrets": "0"}}}
    await api.patch(QUOTA, namespace, "none", status, subresource="status")


async def take_names(api: Kube, namespace: str, shops: Sequence[str]) -> None:
    """Create a Service of another client under a name that each Shop needs."""
    spec = {"selector": {"app.kubernetes.io/name": "another-client"}, "ports": [{"name": "http", "port": 8000}]}
    for shop in shops:
        meta = {"name": f"{shop}-order", "namespace": namespace}
        body = {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": spec}
        await api.apply(SERVICE, body, force=True, manager="another-client")


@contextlib.asynccontextmanager
async def webhook(
    api: Kube,
    namespace: str,
    authority: bytes,
    port: int,
    resources: Sequence[str],
    timeout_s: int = WEBHOOK_TIMEOUT_S,
) -> AsyncIterator[None]:
    """Every write of these resources in the namespace calls the webhook at the port."""
    rule = {"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["CREATE", "UPDATE", "DELETE"]}
    body: Object = {
        "apiVersion": WEBHOOK.api_version,
        "kind": WEBHOOK.kind,
        "metadata": {"name": f"hook-{namespace}"},
        "webhooks": [
            {
                "name": "policy.example.com",
                "clientConfig": {"url": f"https://127.0.0.1:{port}/", "caBundle": base64.b64encode(authority).decode()},
                "rules": [{**rule, "resources": list(resources)}],
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
                "failurePolicy": "Fail",
                "sideEffects": "None",
                "timeoutSeconds": timeout_s,
                "admissionReviewVersions": ["v1"],
            }
        ],
    }
    await api.create(WEBHOOK, body)
    try:
        yield
    finally:
        await api.delete(WEBHOOK, None, f"hook-{namespace}")


@dataclass(slots=True)
class StalledWebhook:
    """`waiting`: requests without a response."""

    port: int = 0
    waiting: int = 0


@contextlib.asynccontextmanager
async def webhook_without_response(apiserver: ApiServer) -> AsyncIterator[StalledWebhook]:
    """A webhook that accepts requests and never responds."""
    found, end = StalledWebhook(), asyncio.Event()

    async def take(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        found.waiting += 1
        await end.wait()
        writer.close()

    async with _serving(apiserver, take) as found.port:
        yield found
        end.set()


@contextlib.asynccontextmanager
async def webhook_with_500(apiserver: ApiServer) -> AsyncIterator[int]:
    """The port of a webhook that answers every request with 500."""

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(ANSWER_500)
            await writer.drain()
        writer.close()

    async with _serving(apiserver, take) as port:
        yield port


@contextlib.asynccontextmanager
async def _serving(apiserver: ApiServer, handler: Handler) -> AsyncIterator[int]:
    certificate, key = apiserver.authority.issue("webhook")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server = await asyncio.start_server(handler, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


@dataclass(frozen=True, slots=True)
class RefusedShops:
    """Shops of a namespace whose objects are to be refused."""

    api: Kube
    server: ApiServer
    namespace: str
    names: Sequence[str]
    webhook_timeout_s: int = WEBHOOK_TIMEOUT_S

    def with_webhook(self, port: int) -> contextlib.AbstractAsyncContextManager[None]:
        """Every write of a Service calls the webhook at the port."""
        authority = self.server.authority.path.read_bytes()
        return webhook(self.api, self.namespace, authority, port, ["services"], self.webhook_timeout_s)


@contextlib.asynccontextmanager
async def _quota(shops: RefusedShops) -> AsyncIterator[None]:
    await quota_without_secrets(shops.api, shops.namespace)
    yield


@contextlib.asynccontextmanager
async def _names_taken(shops: RefusedShops) -> AsyncIterator[None]:
    await take_names(shops.api, shops.namespace, shops.names)
    yield


@contextlib.asynccontextmanager
async def _webhook_500(shops: RefusedShops) -> AsyncIterator[None]:
    async with webhook_with_500(shops.server) as port, shops.with_webhook(port):
        yield


@contextlib.asynccontextmanager
async def _webhook_silent(shops: RefusedShops) -> AsyncIterator[None]:
    async with webhook_without_response(shops.server) as silent, shops.with_webhook(silent.port):
        yield


REFUSALS: Mapping[str, Callable[[RefusedShops], contextlib.AbstractAsyncContextManager[None]]] = {
    "quota": _quota,
    "names-taken": _names_taken,
    "webhook-500": _webhook_500,
    "webhook-silent": _webhook_silent,
}
"""Each refuses the objects of the Shops while its block runs."""
REASONS = {
    "quota": "Forbidden",
    "names-taken": "NameTaken",
    "webhook-500": "ServerError",
    "webhook-silent": "ServerError",
}
"""The reason of the Shops' condition then."""
