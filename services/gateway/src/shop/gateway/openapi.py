"""One OpenAPI document, merged from those of all services."""

from __future__ import annotations

import asyncio
import copy
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import orjson

from shop.gateway.routing import API_PREFIX, is_public
from shop.kit.http.connections import FAILED, Connections
from shop.kit.http.pool import ServicePool

FETCH_TIMEOUT_S = 2.0
INCOMPLETE_TTL_S = 2.0
"""At most, for a document in which a service is missing: one that starts is in it soon."""
PUBLIC_PREFIXES = ("/api/v1/", "/.well-known/")
REFERENCE = "#/components/"
BEARER = {
    "type": "http",
    "scheme": "bearer",
    "bearerFormat": "JWT",
    "description": "access_token of POST /api/v1/tokens",
}
GATEWAY_RESPONSES = {
    "502": {"description": "The service broke off; the request may have been carried out."},
    "504": {"description": "The service took too long; the request may have been carried out."},
}
METHODS = frozenset({"get", "put", "post", "delete", "options", "head", "patch", "trace"})

Document = dict[str, Any]


def merge(documents: Mapping[str, Document], unavailable: Sequence[str] = ()) -> Document:
    """One document of those of several services, by their names.

    Internal paths and the components that only they use are left out. Different components of the same
    name are prefixed with their service's name; equal ones are shared. The description names unavailable services.
    """
    merged: Document = {
        "openapi": "3.1.0",
        "info": {"title": "Shop", "version": "v1", "description": _description(unavailable)},
        "paths": {},
        "components": {},
    }
    public = {service: _public(documents[service]) for service in sorted(documents)}
    several = _in_several(public.values())
    for service, document in public.items():
        _rename_components(document, _renames(document, merged["components"], several, service))
        for kind, components in document["components"].items():
            merged["components"].setdefault(kind, {}).update(components)
        for path, item in document["paths"].items():
            merged["paths"].setdefault(path, {}).update(_operations(path, item, service))
    merged["components"].setdefault("securitySchemes", {})["bearer"] = BEARER
    return merged


def _public(document: Document) -> Document:
    """A copy with the public paths, and the components that they refer to, directly or through another component."""
    paths = {path: item for path, item in document.get("paths", {}).items() if path.startswith(PUBLIC_PREFIXES)}
    components = document.get("components", {})
    wanted: set[str] = set()
    found = set(_references(paths))
    while found:
        wanted |= found
        found = {further for reference in found for further in _references(_component(components, reference))} - wanted
    used = {
        kind: {name: component for name, component in named.items() if f"{REFERENCE}{kind}/{name}" in wanted}
        for kind, named in components.items()
    }
    return copy.deepcopy({"paths": paths, "components": used})


def _component(components: Document, reference: str) -> Any:
    kind, _, name = reference.removeprefix(REFERENCE).partition("/")
    return components.get(kind, {}).get(name, {})


def _in_several(documents: Iterable[Document]) -> set[str]:
    """References to the components whose names more than one of the documents uses."""
    uses = Counter(
        f"{REFERENCE}{kind}/{name}"
        for document in documents
        for kind, named in document["components"].items()
        for name in named
    )
    return {reference for reference, times in uses.items() if times > 1}


def _description(unavailable: Sequence[str]) -> str:
    text = "Everything under /api/v1, through the gateway."
    return f"{text} Not available at the moment: {', '.join(sorted(unavailable))}." if unavailable else text


def _operations(path: str, item: Document, service: str) -> Document:
    """A path's operations with unique ids, and what the gateway adds: security and failures."""
    noun = path.removeprefix(API_PREFIX).split("/", 1)[0]
    for method, operation in item.items():
        if method not in METHODS:
            continue
        operation.setdefault("tags", [service])
        if "operationId" in operation:
            operation["operationId"] = f"{service}_{operation['operationId']}"
        operation["responses"] = operation.get("responses", {}) | GATEWAY_RESPONSES
        if path.startswith(API_PREFIX) and not is_public(method.upper(), path, noun):
            operation["security"] = [{"bearer": []}]
    return item


def _renames(document: Document, taken: Document, several: set[str], service: str) -> dict[str, str]:
    """Old to new references of the components whose name is taken by a different component."""
    renames: dict[str, str] = {}
    for kind, components in document["components"].items():
        for name, component in components.items():
            if name in taken.get(kind, {}) and taken[kind][name] != component:
                renames[f"{REFERENCE}{kind}/{name}"] = f"{REFERENCE}{kind}/{service.capitalize()}{name}"
    return _with_dependants(document, renames, several, service)


def _with_dependants(document: Document, renames: dict[str, str], several: set[str], service: str) -> dict[str, str]:
    """Rename what refers to a renamed component and has a name that another document uses: it may be written alike
    there, with another meaning."""
    components = [
        (reference, component)
        for kind, named in document["components"].items()
        for name, component in named.items()
        if (reference := f"{REFERENCE}{kind}/{name}") in several
    ]
    grown = True
    while grown:
        grown = False
        for reference, component in components:
            if reference not in renames and any(target in renames for target in _references(component)):
                head, _, name = reference.rpartition("/")
                renames[reference] = f"{head}/{service.capitalize()}{name}"
                grown = True
    return renames


def _references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for value in node.values():
            yield from _references(value)
    elif isinstance(node, list):
        for value in node:
            yield from _references(value)


def _rename_components(document: Document, renames: Mapping[str, str]) -> None:
    if not renames:
        return
    for kind, components in document["components"].items():
        for old in [name for name in components if f"{REFERENCE}{kind}/{name}" in renames]:
            components[renames[f"{REFERENCE}{kind}/{old}"].rpartition("/")[2]] = components.pop(old)
    _rewrite(document, renames)


def _rewrite(node: Any, renames: Mapping[str, str]) -> None:
    if isinstance(node, dict):
        for key, value in node.items():
            if isinstance(value, str) and value in renames:
                node[key] = renames[value]
            else:
                _rewrite(value, renames)
    elif isinstance(node, list):
        for value in node:
            _rewrite(value, renames)


class MergedOpenApi:
    """The merged document, fetched again when it is older than ``ttl_s`` seconds.

    The last known document of a service that does not answer is used; one without any is named as unavailable, and
    fetched again after ``INCOMPLETE_TTL_S``.
    """

    def __init__(self, connections: Connections, upstreams: Sequence[ServicePool], ttl_s: float) -> None:
        self._connections = connections
        self._upstreams = upstreams
        self._ttl_s = ttl_s
        self._documents: dict[str, Document] = {}
        self._merged: Document = {}
        self._valid_until = float("-inf")
        self._lock = asyncio.Lock()

    async def document(self, own: Document) -> Document:
        """The document as OpenAPI 3.1; ``own`` has what the gateway answers itself."""
        async with self._lock:
            if time.monotonic() >= self._valid_until:
                await asyncio.gather(*(self._update(upstream) for upstream in self._upstreams))
                missing = [up.service for up in self._upstreams if up.service not in self._documents]
                self._merged = merge({**self._documents, "gateway": own}, missing)
                ttl_s = min(self._ttl_s, INCOMPLETE_TTL_S) if missing else self._ttl_s
                self._valid_until = time.monotonic() + ttl_s
            return self._merged

    async def _update(self, upstream: ServicePool) -> None:
        for instance in upstream.instances:
            try:
                document = await self._fetch(instance.base_url)
            except (FAILED, ValueError):
                continue
            self._documents[upstream.service] = document
            return

    async def _fetch(self, base_url: str) -> Document:
        document = orjson.loads(await self._connections.fetch(base_url, "/openapi.json", FETCH_TIMEOUT_S))
        if not isinstance(document, dict):
            raise ValueError("an OpenAPI document is an object")
        return document
