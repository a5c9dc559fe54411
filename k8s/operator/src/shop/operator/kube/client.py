"""A client of the API server with the few verbs that are needed, bounded in concurrency, size, time and retries.

An idempotent request is retried when the server is overloaded, restarting or unreachable; another one (create, JSON
patch) only when the server certainly did not carry it out.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import aiohttp
import orjson
from yarl import URL

from shop.operator.kube import login
from shop.operator.kube.api_errors import (
    TRANSIENT,
    ApiError,
    Gone,
    NotFound,
    Unreachable,
    WatchIdleTimeout,
    error_from_response,
    error_of,
    no_response,
)
from shop.operator.kube.kinds import LEASE, Kind
from shop.operator.kube.objects import MANAGER, Object
from shop.operator.kube.slots import Slots

MAX_IN_FLIGHT = 16
"""Concurrent requests. Watches and the Lease do not count: they must go on when everything else is slow."""
MAX_SLOW = 6
"""Further requests that take long, such as for a slow webhook: they must not keep others from the server. Together with
MAX_IN_FLIGHT less than 24, of which the API server's default priority and fairness never deprives service accounts:
what is more may wait in the server, and renewals of the Lease behind it."""
CONNECT_TIMEOUT_S = 5.0
REQUEST_TIMEOUT_S = 35.0
"""More than the 30 s that the API server may wait for a webhook: its answer names the webhook, and is not repeated."""
MAX_ATTEMPTS = 6
WEBHOOK_FAILED = "Internal error occurred: failed calling webhook"
"""Beginning of the message about an admission webhook that failed or did not respond."""
FIRST_PAUSE_S = 0.2
MAX_PAUSE_S = 10.0
PAGE = 250
"""Objects in one page of a list: enough for speed, few enough for memory."""
MAX_LISTS = 5
"""Attempts at a list whose pages expire while it is read."""
WATCH_S = 300
WATCH_IDLE_TIMEOUT_S = 90.0
"""A watch without any event for so long is dead, or of a kind of which the server has seen no event since it started:
for all others it sends a bookmark every minute."""
MAX_EVENT_BYTES = 3 * 1024 * 1024
"""Of one event of a watch; etcd itself holds no object of more than 1.5 MiB."""
APPLY, MERGE, JSON_PATCH = "apply-patch+yaml", "merge-patch+json", "json-patch+json"
IDEMPOTENT = frozenset({"GET", "PATCH", "DELETE"})
"""Without PUT: its precondition would fail against its own first success."""
Params = Mapping[str, str | int]
Objects = list[Object]
Event = tuple[str, Object]
"""Type (ADDED, MODIFIED, DELETED, BOOKMARK) and object."""
type Observer = Callable[[str, str, int, float], None]
"""Called with method, resource, status (0: no response) and seconds of each request."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request; `idempotent`: carrying it out twice does no harm; `urgent`: it does not wait for a slot."""

    method: str
    path: str
    params: Params = field(default_factory=dict)
    body: bytes | None = None
    content: str = "json"
    idempotent: bool = True
    urgent: bool = False
    resource: str = ""


class Kube:
    """A connection: `async with Kube() as kube`. Safe to share between tasks of one loop."""

    def __init__(self, kubeconfig: Path | None = None, context: str | None = None) -> None:
        """To the cluster of `kubeconfig`, else of $KUBECONFIG, else of this pod, else of ~/.kube/config."""
        self._where = kubeconfig, context
        self._login = login.Login("")
        self._session: aiohttp.ClientSession | None = None
        self._slots = Slots(MAX_IN_FLIGHT, MAX_SLOW)
        self.observer: Observer = lambda *_: None
        self.attempts = MAX_ATTEMPTS

    async def __aenter__(self) -> Self:
        self._login = await login.find(*self._where)
        connector = aiohttp.TCPConnector(limit=0, ssl=self._login.tls or True, keepalive_timeout=60)
        local = URL(self._login.server).host in ("127.0.0.1", "localhost", "::1")
        self._session = aiohttp.ClientSession(
            connector=connector, trust_env=not local, headers={"User-Agent": MANAGER, "Accept": "application/json, */*"}
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session:
            await self._session.close()

    @property
    def server(self) -> str:
        """URL of the API server."""
        return self._login.server

    @property
    def namespace(self) -> str:
        """The namespace that the kubeconfig or the pod names."""
        return self._login.namespace

    async def get(self, kind: Kind, namespace: str | None, name: str) -> Object | None:
        """The object, None when there is none. A kind of the cluster has the namespace None or ""."""
        try:
            return await self._object("GET", kind, path_of(kind, namespace, name))
        except NotFound:
            return None

    async def page(
        self, kind: Kind, namespace: str | None, labels: str = "", limit: int = PAGE, token: str = ""
    ) -> tuple[list[Object], str, str]:
        """A page: its objects, the list's resource version, the next page's token ("" after the last). Raises Gone."""
        params: dict[str, str | int] = {"limit": limit, "labelSelector": labels, "continue": token}
        answer = await self._object("GET", kind, path_of(kind, namespace), params)
        items: list[Object] = answer["items"]
        for item in items:  # objects in a list lack both
            item["apiVersion"], item["kind"] = kind.api_version, kind.kind
        return items, answer["metadata"]["resourceVersion"], answer["metadata"].get("continue", "")

    async def list(self, kind: Kind, namespace: str | None, labels: str = "") -> Objects:
        """All objects of the kind; for many, use an informer."""
        attempts, token, items = 1, "", Objects()
        while True:
            try:
                more, _, token = await self.page(kind, namespace, labels, token=token)
            except Gone:
                if (attempts := attempts + 1) > MAX_LISTS:
                    raise
                token, items = "", []
                continue
            items += more
            if not token:
                return items

    async def watch(
        self, kind: Kind, namespace: str | None, labels: str, resource_version: str, timeout_s: float = WATCH_S
    ) -> AsyncGenerator[Event]:
        """Events after `resource_version`, bookmarks too, until the server ends the watch after about `timeout_s`.

        Raises Gone when that is too long ago, Unreachable when the connection breaks, WatchIdleTimeout when
        nothing comes.
        """
        params: dict[str, str | int] = {
            "watch": 1,
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "labelSelector": labels,
            "timeoutSeconds": max(1, round(timeout_s)),
        }
        lines = self.stream(path_of(kind, namespace), params)
        async with aclosing(lines):
            async for line in lines:
                event = _parsed(line)
                if event["type"] == "ERROR":
                    raise error_of(int(event["object"].get("code", 500)), event["object"])
                yield event["type"], event["object"]

    async def apply(
        self, kind: Kind, obj: Object, *, force: bool, dry_run: bool = False, manager: str = MANAGER
    ) -> Object:
        """Server-side apply. Without `force`, fields of other managers raise Conflict."""
        params = _writing(manager, dry_run=dry_run) | {"force": "true" if force else "false"}
        metadata = obj["metadata"]
        path = path_of(kind, metadata.get("namespace"), metadata["name"])
        return await self._object("PATCH", kind, path, params, obj, APPLY)

    async def create(self, kind: Kind, obj: Object) -> Object:
        """The object as created. Conflict when it exists, also after a lost response."""
        path = path_of(kind, obj["metadata"].get("namespace"))
        return await self._object("POST", kind, path, {"fieldManager": MANAGER}, obj)

    async def replace(self, kind: Kind, obj: Object, *, dry_run: bool = False) -> Object:
        """The object as it is now. With a resourceVersion in it, Conflict when it has changed since."""
        metadata = obj["metadata"]
        path = path_of(kind, metadata.get("namespace"), metadata["name"])
        return await self._object("PUT", kind, path, _writing(dry_run=dry_run), obj)

    async def patch(
        self,
        kind: Kind,
        namespace: str | None,
        name: str,
        body: Any,
        subresource: str = "",
    ) -> Object:
        """Merge patch, or JSON patch (a list of operations)."""
        path = path_of(kind, namespace, name, subresource)
        content = JSON_PATCH if isinstance(body, list) else MERGE
        return await self._object("PATCH", kind, path, {"fieldManager": MANAGER}, body, content)

    async def delete(
        self, kind: Kind, namespace: str | None, name: str, uid: str | None = None, propagation: str = "Background"
    ) -> bool:
        """Whether it existed. With `uid`, Conflict when another object has the name by now."""
        options: Object = {"propagationPolicy": propagation}
        if uid:
            options["preconditions"] = {"uid": uid}
        try:
            await self._object("DELETE", kind, path_of(kind, namespace, name), body=options)
        except NotFound:
            return False
        return True

    async def served(self, group_version: str) -> set[str]:
        """Kinds of a group and version such as "postgresql.cnpg.io/v1"; none when it is not installed."""
        root = f"/apis/{group_version}" if "/" in group_version else f"/api/{group_version}"
        try:
            answer = _parsed(await self.send(Request("GET", root, resource="discovery")))
        except NotFound:
            return set()
        return {resource["kind"] for resource in answer["resources"] if "/" not in resource["name"]}

    async def send(self, request: Request) -> bytes:
        """The body of a successful response, after as many attempts as are allowed and useful."""
        for attempt in range(self.attempts):
            try:
                if request.urgent:
                    return await self._exchange(request)
                await self._slots.acquire()
                with self._slots.working():
                    return await self._exchange(request)
            except ApiError as error:
                if attempt == self.attempts - 1 or not _may_retry(request, error):
                    raise
                if error.status != 401:
                    await asyncio.sleep(_pause_s(attempt, error))
                elif attempt or not self._login.token.invalidate():
                    raise
        raise AssertionError("unreachable")

    async def stream(self, path: str, params: Params) -> AsyncGenerator[bytes]:
        """Lines of a response that may go on for long: a watch, or a pod's log."""
        session, url, options = await self._prepare(path)
        limit = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_TIMEOUT_S, sock_read=WATCH_IDLE_TIMEOUT_S)
        try:
            async with session.get(url, params=params, timeout=limit, allow_redirects=False, **options) as response:
                if response.status >= 400:
                    if response.status == 401:
                        self._login.token.invalidate()
                    raise await error_from_response(response)
                try:
                    async for line in _lines(response.content):
                        yield line
                except TimeoutError as error:
                    raise WatchIdleTimeout(
                        0, "WatchIdleTimeout", f"API server: GET {path}: nothing came for {WATCH_IDLE_TIMEOUT_S:g} s"
                    ) from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise no_response("GET", path, error) from error

    async def websocket(
        self, path: str, params: Params | Sequence[tuple[str, str]], protocol: str
    ) -> aiohttp.ClientWebSocketResponse:
        """A connection for both directions, such as to a port of a pod; the caller closes it."""
        session, url, options = await self._prepare(path)
        try:
            options |= {"params": params, "protocols": (protocol,)}
            socket: aiohttp.ClientWebSocketResponse = await session.ws_connect(url, **options)
            return socket
        except aiohttp.WSServerHandshakeError as error:
            raise error_of(error.status, {"message": f"{path}: {error.message} ({error.status})"}) from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise no_response("GET", path, error) from error

    async def _object(
        self,
        method: str,
        kind: Kind,
        path: str,
        params: Params | None = None,
        body: Any = None,
        content: str = "json",
    ) -> Object:
        params = params or {}
        idempotent = (method in IDEMPOTENT and content != JSON_PATCH) or "dryRun" in params
        encoded = None if body is None else orjson.dumps(body)
        request = Request(method, path, params, encoded, content, idempotent, kind is LEASE, kind.plural)
        return _parsed(await self.send(request))

    async def _exchange(self, request: Request) -> bytes:
        session, url, options = await self._prepare(request.path)
        if request.body is not None:
            options["headers"]["Content-Type"] = f"application/{request.content}"
        options["timeout"] = aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S, sock_connect=CONNECT_TIMEOUT_S)
        options |= {"params": request.params, "data": request.body, "allow_redirects": False}
        started, status = time.perf_counter(), 0
        try:
            async with session.request(request.method, url, **options) as response:
                status = response.status
                if status >= 400:
                    raise await error_from_response(response)
                return await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise no_response(request.method, request.path, error) from error
        finally:
            self.observer(request.method, request.resource, status, time.perf_counter() - started)

    async def _prepare(self, path: str) -> tuple[aiohttp.ClientSession, URL, dict[str, Any]]:
        """Session, URL and options of a request."""
        if self._session is None:
            raise RuntimeError("use `async with Kube(...)`")
        try:
            token = await self._login.token.current()
        except login.LoginError as error:
            raise Unreachable(0, "NotSent", str(error)) from error
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        options: dict[str, Any] = {"headers": headers, "proxy": self._login.proxy}
        if self._login.tls_server_name:
            options["server_hostname"] = self._login.tls_server_name
        return self._session, URL(self._login.server + path, encoded=True), options


def path_of(kind: Kind, namespace: str | None = None, name: str = "", subresource: str = "") -> str:
    """Path at the API server; without a name, that of the list."""
    middle = f"/namespaces/{namespace}" if namespace else ""
    return f"{kind.root}{middle}/{kind.plural}" + "".join(f"/{part}" for part in (name, subresource) if part)


def _writing(manager: str = MANAGER, *, dry_run: bool) -> dict[str, str | int]:
    return {"fieldManager": manager, **({"dryRun": "All"} if dry_run else {})}


def _may_retry(request: Request, error: ApiError) -> bool:
    if error.status == 429 or error.reason == "NotSent" or error.status == 401:
        return True  # certainly not carried out
    if error.message.startswith(WEBHOOK_FAILED):
        return False  # it has waited for the webhook already, and the caller retries after longer pauses
    return request.idempotent and (isinstance(error, Unreachable) or error.status in TRANSIENT)


def _pause_s(attempt: int, error: ApiError) -> float:
    """Retry-After, else exponential; with jitter."""
    wanted = error.retry_after_s or FIRST_PAUSE_S * 2**attempt
    return min(wanted, MAX_PAUSE_S) * random.uniform(1.0, 1.5)


def _parsed(body: bytes) -> Object:
    try:
        parsed: Object = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise Unreachable(0, "NoAnswer", "what answers at the API server's address is no API server") from error
    return parsed


async def _lines(content: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    """Complete lines; an incomplete one at the end is dropped. ApiError for one longer than any event."""
    rest = bytearray()
    async for chunk in content.iter_any():
        *whole, last = chunk.split(b"\n")
        for part in whole:
            yield bytes(rest) + part
            rest.clear()
        rest += last
        if len(rest) > MAX_EVENT_BYTES:
            raise ApiError(0, "TooLarge", f"an event of more than {MAX_EVENT_BYTES} bytes")
