"""The services in docs/architecture.md: diagrams of components and deployments, and a table."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from shop.devkit.generate.blocks import replaced
from shop.devkit.manifest import CORE, SERVICES, Manifests, fallback_of, ingress_of, publishers

SCHEMAS = Path(SERVICES) / "contracts" / "schemas"
INDENT = "    "
STORES = (
    "subgraph stores",
    f"{INDENT}postgres[(PostgreSQL<br>a database and a role for each service)]",
    f"{INDENT}nats[(NATS JetStream<br>a stream for each service with events)]",
    f"{INDENT}valkey[(Valkey)]",
    "end",
)


def architecture(root: Path, manifests: Manifests) -> str:
    """docs/architecture.md."""
    return replaced(
        root / "docs" / "architecture.md",
        {
            "components": _diagram(root, manifests),
            "services": _table(root, manifests),
            "one machine": _one_machine(manifests),
            "cluster": _cluster(manifests),
        },
    )


def published(root: Path, noun: str) -> list[str]:
    """The types of the events that the service publishes: each has a golden schema."""
    return sorted(path.stem for path in (root / SCHEMAS).glob(f"{noun}.*.json"))


def _diagram(root: Path, manifests: Manifests) -> Iterator[str]:
    ingress, fallback = ingress_of(manifests), fallback_of(manifests)
    yield from ("```mermaid", "flowchart LR")
    yield from (f"{INDENT}{client} --> {ingress}" for client in ("browser([browser])", "program([API client])"))
    yield f"{INDENT}subgraph shop"
    for noun, manifest in manifests.items():
        yield f'{INDENT}{INDENT}{noun}["{noun}<br>{manifest.description.rstrip(".")}"]'
    yield f"{INDENT}end"
    yield f'{INDENT}{ingress} -->|"/"| {fallback}'
    with_api = [noun for noun, manifest in manifests.items() if manifest.api]
    yield f"{INDENT}{ingress} -->|/api/v1/...| {' & '.join(with_api)}"
    for noun, manifest in manifests.items():
        if manifest.calls:
            yield f"{INDENT}{noun} --> {' & '.join(manifest.calls)}"
    senders = [noun for noun in manifests if published(root, noun)]
    readers = [noun for noun, manifest in manifests.items() if manifest.consumes]
    stores = {
        f"{' & '.join(senders)} -.->|outbox| nats[(NATS JetStream)]": senders,
        f"nats -.->|inbox| {' & '.join(readers)}": readers,
        **_stores(manifests),
    }
    yield from (f"{INDENT}{line}" for line, users in stores.items() if users)
    yield "```"


def _stores(manifests: Manifests) -> dict[str, list[str]]:
    databases = [noun for noun, manifest in manifests.items() if manifest.database]
    caches = [noun for noun, manifest in manifests.items() if manifest.cache]
    return {
        f"{' & '.join(databases)} --> postgres[(PostgreSQL<br>one database and role each)]": databases,
        f"{' & '.join(caches)} --> valkey[(Valkey)]": caches,
    }


def _one_machine(manifests: Manifests) -> Iterator[str]:
    yield from ("```mermaid", "flowchart TB", f"{INDENT}subgraph machine[one machine, 127.0.0.1]")
    inside = (
        'shopctl["./shopctl up<br>supervisor"] --> stores & services',
        *STORES,
        'subgraph services["services: a process of each, several with ./shopctl scale"]',
        *(f"{INDENT}{line}" for line in _by_module(manifests)),
        "end",
        "services --> stores",
        'stores --- data[/".shop/: data, logs, secrets, ports"/]',
    )
    yield from (f"{INDENT * 2}{line}" for line in inside)
    yield from (f"{INDENT}end", "```")


def _cluster(manifests: Manifests) -> Iterator[str]:
    yield from (
        "```mermaid",
        "flowchart TB",
        f"{INDENT}clients([browsers and API clients]) --> route[Ingress or Gateway]",
    )
    inside = (
        f"route --> {_group(CORE)}",
        "shop[/Shop resource/] -.->|watched| operator[shop-operator<br>one works, by a Lease]",
        "operator -->|server-side apply, in waves| namespace",
        'subgraph namespace["namespace of the Shop"]',
        f'{INDENT}subgraph services["services: Deployment, Service and NetworkPolicy of each"]',
        *(f"{INDENT * 2}{line}" for line in _by_module(manifests)),
        f"{INDENT}end",
        f'{INDENT}jobs["Jobs: provisioning, migrations, backups"] --> stores',
        *(f"{INDENT}{line}" for line in STORES),
        f"{INDENT}services --> stores",
        "end",
    )
    yield from (f"{INDENT}{line}" for line in inside)
    yield "```"


def _group(module: str) -> str:
    """The name of a module's node; the names of some modules are those of services."""
    return f"of_{module}"


def _by_module(manifests: Manifests) -> Iterator[str]:
    """A node for the services of each module, those of every shop first."""
    modules = sorted({module for one in manifests.values() for module in one.modules} - {CORE})
    for module in (CORE, *modules):
        nouns = [noun for noun, one in manifests.items() if module in one.modules]
        title = "every shop" if module == CORE else f"module {module}"
        yield f'{_group(module)}["{title}:<br>{", ".join(nouns)}"]'


def _table(root: Path, manifests: Manifests) -> Iterator[str]:
    yield "| service | what it does | API | calls | publishes | consumes |"
    yield "|---|---|---|---|---|---|"
    for noun, manifest in manifests.items():
        cells = (
            f"[{noun}](../{SERVICES}/{noun})",
            manifest.description.rstrip("."),
            _codes(f"/{segment}" for segment in (*manifest.api, *manifest.prefixes)),
            "all" if manifest.ingress or manifest.observes else ", ".join(manifest.calls),
            _events(root, published(root, noun)),
            _events(root, manifest.consumes, publishers(manifest)),
        )
        yield f"| {' | '.join(cells)} |".replace("|  |", "| |").replace("|  |", "| |")


def _events(root: Path, types: Iterable[str], nouns: Iterable[str] = ()) -> str:
    """Without their versions; all of a service's as `order.*`."""
    names = {kind.rpartition(".")[0] for kind in types}
    for noun in nouns:
        every = {kind.rpartition(".")[0] for kind in published(root, noun)}
        if len(every) > 1 and every <= names:
            names = names - every | {f"{noun}.*"}
    return _codes(sorted(names))


def _codes(texts: Iterable[str]) -> str:
    return ", ".join(f"`{text}`" for text in texts)
