"""Instances by the EndpointSlices of Kubernetes: known as soon as the cluster knows that a pod is ready, or is not.

Needs the right to list and watch EndpointSlices in the pod's namespace, and nothing else.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import orjson
from yarl import URL

from shop.kit.balancing.instance import About
from shop.kit.discovery.dns import DnsDiscovery
from shop.kit.discovery.interface import Changed, Unregistered
from shop.kit.errors import Unavailable
from shop.kit.tasks import Tasks

log = logging.getLogger(__name__)

ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
API = "https://kubernetes.default.svc"
PATH = "/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"
SERVICE_LABEL = "kubernetes.io/service-name"
PORT_NAME = "http"
WATCH_S = 240
"""After which the server ends a watch, and the slices are listed again."""
SILENCE_S = WATCH_S + 30.0
REQUEST_TIMEOUT_S = 10.0
MAX_EVENT_BYTES = 4 << 20
GONE = 410
REFUSED = (401, 403)

Json = Mapping[str, Any]


class NotAllowed(Exception):
    """The API server refuses the list or the watch."""


@dataclass
class _Followed:
    service: str
    """The Service's name, from the URL's host."""
    urls: Sequence[str]
    changed: Changed
    last: Mapping[str, About] = field(default_factory=dict)


class EndpointSlices(Unregistered):
    """Follows the Services that the settings' URLs name. The instances that were known last stay.

    Without the right to watch, `dns` is used instead, after one line in the log.
    """

    def __init__(self, dns: DnsDiscovery, api: str = API, account: Path = ACCOUNT) -> None:
        self._dns = dns
        self._api = api
        self._account = account
        self._followed: list[_Followed] = []
        self._slices: dict[str, Json] = {}

    def start(self, tasks: Tasks) -> None:
        tasks.start("discovery", self._run)

    def follow(self, service: str, urls: Sequence[str], changed: Changed) -> None:
        self._dns.follow(service, urls, changed)
        if urls:
            host = URL(urls[0]).host or ""
            self._followed.append(_Followed(host.partition(".")[0], urls, changed))
            self._notify()

    async def _run(self) -> None:
        try:
            while True:
                await self._list_and_watch()
        except NotAllowed as error:
            log.warning("instances are found by DNS: %s", error, extra={"event": "discovery_not_allowed"})
            await self._dns.run()
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            raise Unavailable("kubernetes", f"EndpointSlices cannot be read: {error!r}") from error

    async def _list_and_watch(self) -> None:
        tls = ssl.create_default_context(cafile=str(self._account / "ca.crt"))
        connector = aiohttp.TCPConnector(ssl=tls, limit=2)
        async with aiohttp.ClientSession(self._api, connector=connector, read_bufsize=MAX_EVENT_BYTES) as session:
            listed = await self._list(session)
            self._slices = {one["metadata"]["name"]: one for one in listed["items"]}
            self._notify()
            async for event in self._watch(session, listed["metadata"]["resourceVersion"]):
                if event["type"] == "ERROR":
                    return
                self._apply(event)

    def _request(self, session: aiohttp.ClientSession, timeout_s: float, **query: str) -> Any:
        """The token is read each time: the kubelet replaces it."""
        namespace = (self._account / "namespace").read_text(encoding="ascii").strip()
        token = (self._account / "token").read_text(encoding="ascii").strip()
        return session.get(
            PATH.format(namespace=namespace),
            params=query,
            headers={"Authorization": f"Bearer {token}"},
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=REQUEST_TIMEOUT_S, sock_read=timeout_s),
        )

    async def _list(self, session: aiohttp.ClientSession) -> Json:
        async with self._request(session, REQUEST_TIMEOUT_S) as answer:
            await _check(answer)
            listed: Json = orjson.loads(await answer.read())
            return listed

    async def _watch(self, session: aiohttp.ClientSession, version: str) -> AsyncIterator[Json]:
        query = {"watch": "true", "resourceVersion": version, "timeoutSeconds": str(WATCH_S)}
        async with self._request(session, SILENCE_S, **query) as answer:
            if answer.status == GONE:
                return
            await _check(answer)
            async for line in answer.content:
                yield orjson.loads(line)

    def _apply(self, event: Json) -> None:
        found = event["object"]
        name = found["metadata"]["name"]
        if event["type"] == "DELETED":
            self._slices.pop(name, None)
        else:
            self._slices[name] = found
        self._notify()

    def _notify(self) -> None:
        for one in self._followed:
            found = {
                url: about
                for piece in self._slices.values()
                if piece["metadata"].get("labels", {}).get(SERVICE_LABEL) == one.service
                for url, about in instances(piece, URL(one.urls[0]))
            }
            if found and found != one.last:
                one.last = found
                one.changed(found)


def instances(piece: Json, url: URL) -> list[tuple[str, About]]:
    """The ready instances of an EndpointSlice, at URLs like ``url`` with their own address and port."""
    ports = piece.get("ports") or ()
    port = next((one["port"] for one in ports if one.get("name") == PORT_NAME), None) or url.port
    return [
        (str(url.with_host(address).with_port(port)).rstrip("/"), _about(endpoint, address))
        for endpoint in piece.get("endpoints") or ()
        if (endpoint.get("conditions") or {}).get("ready") is not False
        for address in endpoint["addresses"][:1]
    ]


def _about(endpoint: Json, address: str) -> About:
    pod = (endpoint.get("targetRef") or {}).get("name", address)
    return About(id=pod, zone=endpoint.get("zone") or "")


async def _check(answer: aiohttp.ClientResponse) -> None:
    if answer.status in REFUSED:
        raise NotAllowed(f"the API server answers {answer.status} to a list of EndpointSlices")
    answer.raise_for_status()
