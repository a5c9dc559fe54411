"""What charts/shop says of each service."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from shop.devkit.generate import stubs
from shop.devkit.generate.blocks import replaced
from shop.devkit.manifest import Amounts, Manifest, Manifests, Resources, called, callers, keys_of, publishers

CHART = Path("charts") / "shop"


def values_path(noun: str) -> str:
    """Where the values of a service are among those of charts/shop."""
    return f"services.{noun}"


def values(root: Path, manifests: Manifests) -> str:
    """charts/shop/values.yaml."""
    lines: list[str] = []
    for noun in manifests:
        lines += [*([""] if lines else []), f"{noun}:", *(f"  {line}" for line in _service(root, manifests, noun))]
    return replaced(root / CHART / "values.yaml", {"services": lines})


def gitops(root: Path, manifests: Manifests) -> str:
    """charts/shop/values-gitops.yaml, which names every Secret."""
    nouns = [noun for noun, manifest in manifests.items() if manifest.database]
    return replaced(root / CHART / "values-gitops.yaml", {"databases": [f"{noun}: database-{noun}" for noun in nouns]})


def _service(root: Path, manifests: Manifests, noun: str) -> Iterator[str]:
    manifest = manifests[noun]
    if manifest.optional:
        yield "enabled: false"
    if manifest.replicas != 1:
        yield f"replicas: {manifest.replicas}"
    if manifest.database:
        yield "migrations: {enabled: true}"
    if manifest.broker:
        yield """configMaps: ['{{ include "shop.name" (list . "streams") }}']"""
    if manifest.consumes:
        yield f"consumes: [{', '.join(publishers(manifest))}]"
    if manifest.grpc_port:
        yield "extraPorts:"
        yield f"  - {{name: grpc, port: {manifest.grpc_port}}}"
        if services := stubs.services(root, noun):
            yield f"grpc: {{services: [{', '.join(services)}]}}"
    if manifest.ingress:
        yield "networkPolicy: {open: true}"
    else:
        yield f"networkPolicy: {{callers: [{', '.join(callers(manifests, noun))}]}}"
    if manifest.resources:
        yield "resources:"
        yield from (f"  {line}" for line in _resources(manifest.resources))
    yield "config:"
    yield from (f"  {line}" for line in _config(manifests, noun))
    yield "secretEnv:"
    yield from (f"  {line}" for line in _secrets(manifest))


def _config(manifests: Manifests, noun: str) -> Iterator[str]:
    manifest = manifests[noun]
    if manifest.store_settings:
        yield """SHOP_STORE: '{{ include "shop.store" . }}'"""
    yield f"SHOP_JWKS_URL: '{_url(keys_of(manifests))}/.well-known/jwks.json'"
    for other in called(manifests, noun):
        address = _all_pods(other) if manifest.observes else _url(other, optional=manifests[other].optional)
        yield f"SHOP_{other.upper()}_URL: '{address}'"
    for other in manifest.calls:
        if port := manifests[other].grpc_port:
            yield f"""SHOP_{other.upper()}_GRPC_URL: '{{{{ include "shop.grpcUrl" (list . "{other}" {port}) }}}}'"""
    if manifest.grpc_port:
        yield f'SHOP_GRPC_PORT: "{manifest.grpc_port}"'
    for name, entry in manifest.config.items():
        yield from (f"# {line}" for line in entry.about.splitlines())
        yield f"{name}: {_quoted(entry.value)}"


def _secrets(manifest: Manifest) -> Iterator[str]:
    if manifest.database:
        yield """SHOP_DATABASE_URL: {secretName: '{{ include "shop.database" . }}', key: url}"""
    if manifest.broker:
        yield f"SHOP_NATS_URL: {_secret('nats', 'url')}"
    if manifest.cache:
        yield f"SHOP_VALKEY_URL: {_secret('valkey', 'url')}"
    for name, place in manifest.secrets.items():
        yield f"{name}: {_secret(*place.split('.'))}"
    yield f"SHOP_INTERNAL_TOKEN: {_secret('internal', 'token')}"


def _resources(resources: Resources) -> Iterator[str]:
    for name, amounts in (("requests", resources.requests), ("limits", resources.limits)):
        if parts := list(_amounts(amounts)):
            yield f"{name}: {{{', '.join(parts)}}}"


def _amounts(amounts: Amounts) -> Iterable[str]:
    return (f"{name}: {value}" for name, value in (("cpu", amounts.cpu), ("memory", amounts.memory)) if value)


def _url(noun: str, *, optional: bool = False) -> str:
    return f'{{{{ include "{"shop.optionalUrl" if optional else "shop.url"}" (list . "{noun}") }}}}'


def _all_pods(noun: str) -> str:
    return f'{{{{ include "shop.allPodsUrl" (list . "{noun}") }}}}'


def _secret(kind: str, key: str) -> str:
    return f"""{{secretName: '{{{{ include "shop.secret" (list . "{kind}") }}}}', key: {key}}}"""


def _quoted(value: str) -> str:
    """A YAML string, never a number or a boolean; templates in single quotes, because they contain double ones."""
    if "{{" in value:
        return "'" + value.replace("'", "''") + "'"
    return json.dumps(value, ensure_ascii=False)
