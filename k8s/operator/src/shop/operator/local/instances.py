"""From a Shop to what runs on this machine: which services, how often, with which environment. No input or output."""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from shop.operator.errors import ShopctlError
from shop.operator.resource.spec import RETAIL_NEEDED, ShopSpec
from shop.operator.resource.spec_service import NO_CARD_ENTRY, PROVIDER_ENV, SAMPLE_DATA, SIMULATOR
from shop.operator.services import MODULES, OPTIONAL, SERVICES, SINGLE_PROCESS_LOCALLY

HOST = "127.0.0.1"
TOLD_OF_ARCADE = frozenset({"notification", "pricing"})
"""Services that consume events of players only where there are any."""
CONTROL_ROOM = "ops"
LINKING_TO_CONTROL_ROOM = "storefront"
MAX_REPLICAS = 16
DRAIN_S = 3.0
MAX_STREAM_BYTES = 1 << 30
MIN_STREAM_BYTES = 16 << 20
TRACES_PER_SECOND = 5
"""What the control room records: every request of a person, and of a load test a share that costs little."""
STREAMS_SHARE = 0.5
"""Of the disk's free space, for the streams of all services together; databases grow beside them."""

# Fields of the spec that a single machine has no use for, and what they need; a command of shopctl is in braces.
CLUSTER_ONLY: Mapping[str, str] = {
    "version": "a cluster; here the installed version runs",
    "database": "a cluster; here PostgreSQL is embedded",
    "messaging": "a cluster; here NATS is embedded",
    "cache": "a cluster; here Valkey is embedded",
    "exposure": "a cluster",
    "observability.serviceMonitors": "a cluster",
    "observability.rules": "a cluster",
    "observability.dashboards": "a cluster",
    "observability.labels": "a cluster",
    "observability.scrapeIntervalSeconds": "a cluster",
    "observability.scrapeFrom": "a cluster",
    "observability.dashboardLabels": "a cluster",
    "observability.dashboardAnnotations": "a cluster",
    "networkPolicies": "a cluster",
    "discovery": "a cluster; here instances register in NATS",
    "ipFamilyPolicy": "a cluster",
    "ipFamilies": "a cluster",
    "podDisruptionBudgets": "a cluster",
    "backup": "a cluster; here {backup --to FOLDER} makes one",
    "restoreFrom": "a cluster; here {up --restore-from FOLDER} begins with one",
    "rollback": "a cluster",
    "progressDeadlineSeconds": "a cluster",
    "maintenanceWindow": "a cluster",
    "suspend": "a cluster",
    "deletionPolicy": "a cluster; here {down --delete-data} deletes",
    "store.catalog.configMap": "a cluster",
}
CLUSTER_ONLY_PER_SERVICE = ("autoscaling", "resources", "image")


@dataclass(frozen=True)
class Instance:
    """One process of a service."""

    noun: str
    number: int
    port: int
    grpc_port: int | None = None

    @property
    def name(self) -> str:
        return f"{self.noun}-{self.number}"

    @property
    def base_url(self) -> str:
        return f"http://{HOST}:{self.port}"


@dataclass(frozen=True)
class Wiring:
    """Where the stores are and what the services must know in secret."""

    nats_url: str
    valkey_url: str
    internal_token: str
    admin_email: str
    admin_password: str
    public_url: str
    stream_bytes: int = MAX_STREAM_BYTES
    data_dir: str = ""
    database_urls: Mapping[str, str] = field(default_factory=dict)


def replica_counts(spec: ShopSpec, asked: Mapping[str, int], option: str = "--replicas") -> dict[str, int]:
    """How many processes of each service; `asked` (by `option` of the command line) wins over the spec."""
    unknown = sorted(set(asked) - set(SERVICES))
    if unknown:
        raise ShopctlError(f"{option}: no service {unknown[0]}; there are {', '.join(SERVICES)}")
    if not spec.modules.retail:
        raise ShopctlError(f"spec.modules.retail: {RETAIL_NEEDED}")
    for noun in sorted(set(asked) - set(spec.nouns)):
        raise ShopctlError(f"{option}: {noun} does not run; spec.modules.{MODULES[noun][0]}: true turns it on")
    counts: dict[str, int] = {noun: asked.get(noun, spec.service(noun).replicas) for noun in spec.nouns}
    for noun in counts.keys() & set(SINGLE_PROCESS_LOCALLY):
        if asked.get(noun, 1) != 1:
            raise ShopctlError(f"{option}: {noun} runs once on one machine")
        counts[noun] = 1
    for noun, count in asked.items():
        if not 1 <= count <= MAX_REPLICAS:
            raise ShopctlError(f"{option}: {noun}={count} must be within 1..{MAX_REPLICAS}")
    return {noun: min(count, MAX_REPLICAS) for noun, count in counts.items()}


def environment(
    instance: Instance, spec: ShopSpec, wiring: Wiring, instances: Sequence[Instance], base: Mapping[str, str]
) -> dict[str, str]:
    """The whole environment of one process: `base`, what the spec sets, and the shop's own on top."""
    service = spec.service(instance.noun)
    return {
        "SHOP_STREAM_BYTES": str(wiring.stream_bytes),
        **_with_control_room(spec, instances),
        **base,
        "PYTHONUNBUFFERED": "1",
        "SHOP_LOG_LEVEL": service.log_level,
        "SHOP_DRAIN_SECONDS": f"{DRAIN_S:g}",
        **_tracing(spec),
        **_of_noun(instance.noun, spec, wiring),
        **service.env,
        **_addresses(instances),
        **_grpc(instance, instances),
        **_registration(instance),
        "SHOP_STORE": store_json(spec),
        "SHOP_DATABASE_URL": wiring.database_urls.get(instance.noun, ""),
        "SHOP_NATS_URL": wiring.nats_url,
        "SHOP_VALKEY_URL": wiring.valkey_url,
        "SHOP_INTERNAL_TOKEN": wiring.internal_token,
    }


def _tracing(spec: ShopSpec) -> dict[str, str]:
    """Where the Shop sends traces; empty when it does not say."""
    endpoint, ratio = spec.observability.tracing.endpoint, spec.observability.tracing.sample_ratio
    return {"SHOP_TRACING_ENDPOINT": endpoint, "SHOP_TRACE_SAMPLE_RATIO": f"{ratio:g}"} if endpoint else {}


def _with_control_room(spec: ShopSpec, instances: Sequence[Instance]) -> dict[str, str]:
    """Where a control room runs it may inject faults, and traces go to it unless the Shop or the environment has a
    collector."""
    found = next((one for one in instances if one.noun == CONTROL_ROOM), None)
    if found is None:
        return {}
    to_it = {"SHOP_TRACING_ENDPOINT": found.base_url, "SHOP_TRACES_PER_SECOND": str(TRACES_PER_SECOND)}
    return {"SHOP_FAULT_INJECTION": "true", **({} if spec.observability.tracing.endpoint else to_it)}


def stream_bytes(room_bytes: int, folder: str, streams: int) -> int:
    """What each stream may hold when `room_bytes` of the disk are free or hold streams already; ShopctlError when
    that is too little. SHOP_STREAM_BYTES in the environment of `shopctl up` replaces the result."""
    share = int(room_bytes * STREAMS_SHARE) // streams
    if share < MIN_STREAM_BYTES:
        needed = int(MIN_STREAM_BYTES * streams / STREAMS_SHARE)
        raise ShopctlError(
            f"{folder} has {room_bytes >> 20} MiB free and needs {needed >> 20} MiB for the events of"
            f" {streams} services: free some, or choose a folder on another disk with --data-dir"
        )
    return min(share, MAX_STREAM_BYTES)


def check_provider(base: Mapping[str, str]) -> None:
    """ShopctlError when `base` names a payment provider that needs card entry: the storefront always runs here."""
    if base.get(PROVIDER_ENV, SIMULATOR) != SIMULATOR:
        raise ShopctlError(f"{PROVIDER_ENV} is {base[PROVIDER_ENV]}; it {NO_CARD_ENTRY}")


def _addresses(instances: Sequence[Instance]) -> dict[str, str]:
    """By variable; empty for a service of a module that is off."""
    urls: dict[str, list[str]] = {noun: [] for noun in OPTIONAL}
    for instance in instances:
        urls.setdefault(instance.noun, []).append(instance.base_url)
    addresses = {f"SHOP_{noun.upper()}_URL": ",".join(found) for noun, found in urls.items()}
    return {**addresses, "SHOP_JWKS_URL": f"{urls['user'][0]}/.well-known/jwks.json"}


def grpc_addresses(components: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """By service, the addresses of its gRPC servers; from the components of the shop's state."""
    found: dict[str, list[str]] = {}
    for one in components:
        if port := one.get("grpc_port"):
            found.setdefault(one["name"].rpartition("-")[0], []).append(f"{HOST}:{port}")
    return found


def _grpc(instance: Instance, instances: Sequence[Instance]) -> dict[str, str]:
    """Where the instance serves gRPC, and where each service does."""
    served = {"SHOP_GRPC_HOST": HOST, "SHOP_GRPC_PORT": str(instance.grpc_port)} if instance.grpc_port else {}
    addresses: dict[str, list[str]] = {}
    for one in instances:
        if one.grpc_port:
            addresses.setdefault(f"SHOP_{one.noun.upper()}_GRPC_URL", []).append(f"{HOST}:{one.grpc_port}")
    return {**served, **{name: ",".join(found) for name, found in addresses.items()}}


def _registration(instance: Instance) -> dict[str, str]:
    """How the process finds the others, and how they find it: all of them may come and go while it runs."""
    grpc = f"{HOST}:{instance.grpc_port}" if instance.grpc_port else ""
    return {
        "SHOP_DISCOVERY": "registry",
        "SHOP_INSTANCE_URL": instance.base_url,
        "SHOP_INSTANCE_ID": instance.name,
        "SHOP_INSTANCE_ZONE": "local",
        "SHOP_INSTANCE_GRPC": grpc,
    }


def _of_noun(noun: str, spec: ShopSpec, wiring: Wiring) -> dict[str, str]:
    if noun == "user":
        return {"SHOP_ADMIN_EMAIL": wiring.admin_email, "SHOP_ADMIN_PASSWORD": wiring.admin_password}
    if noun == CONTROL_ROOM:
        folder = Path(wiring.data_dir)
        return {"SHOP_LOCAL_DATA_DIR": str(folder), "SHOP_TRACES_FILE": str(folder / "traces.sqlite")}
    if noun == LINKING_TO_CONTROL_ROOM:
        return {"SHOP_OPS": "true"} if spec.modules.ops else {}
    arcade = {"SHOP_ARCADE": "true"} if spec.modules.arcade and noun in TOLD_OF_ARCADE else {}
    if noun == "notification":
        # Any number above 0 turns the mailbox on (ADR 0030).
        food = {"SHOP_FOOD": "true"} if spec.modules.food else {}
        mail = {"SHOP_SMTP_URL": "", "SHOP_MAILBOX_PORT": "2525", "SHOP_PUBLIC_URL": wiring.public_url}
        return {**mail, **food, **arcade}
    if noun in SAMPLE_DATA and spec.store.catalog and spec.store.catalog.sample:
        return {SAMPLE_DATA[noun]: "true", **arcade}
    return arcade


def store_json(spec: ShopSpec) -> str:
    """spec.store as the services read it from SHOP_STORE (shop.contracts.store)."""
    store = spec.store
    return json.dumps(
        {
            "title": store.title,
            **({"tagline": store.tagline} if store.tagline else {}),
            "currency": store.currency,
            "country": store.country,
            **({"language": store.language} if store.language else {}),
            **({"time_zone": store.time_zone} if store.time_zone else {}),
            **({"ships_to": list(store.ships_to)} if store.ships_to else {}),
            "taxes": [tax.model_dump(mode="json") for tax in store.taxes],
            "shipping": store.shipping.model_dump(mode="json"),
            **({"delivery": store.delivery.model_dump(mode="json")} if spec.modules.food else {}),
        }
    )


def ignored(spec: ShopSpec, command: Callable[[str], str]) -> list[str]:
    """One line for each thing that was asked for and has no effect on one machine.

    ``command`` completes a command of shopctl for the shop that it is about.
    """
    needed = {path: what for path, what in CLUSTER_ONLY.items() if _set(spec, path)}
    lines = [
        f"ignored locally: spec.{path} (needs {re.sub(r'{(.*)}', lambda found: command(found[1]), what)})"
        for path, what in needed.items()
    ]
    return [*lines, *_ignored_services(spec)]


def _ignored_services(spec: ShopSpec) -> Iterator[str]:
    for noun, service in spec.services.items():
        if noun not in spec.nouns:
            yield f"ignored: spec.services.{noun} (spec.modules.{MODULES[noun][0]} is false)"
            continue
        for name in CLUSTER_ONLY_PER_SERVICE:
            if getattr(service, name) is not None:
                yield f"ignored locally: spec.services.{noun}.{name} (needs a cluster)"
        if noun in SINGLE_PROCESS_LOCALLY and service.replicas > 1:
            yield f"ignored locally: spec.services.{noun}.replicas (runs once on one machine)"


def _set(spec: ShopSpec, path: str) -> bool:
    """Whether the field at the camelCase `path` differs from its default."""
    value: object = spec
    default: object = ShopSpec()
    for step in path.split("."):
        value, default = _field(value, step), _field(default, step)
    return value != default


def _field(model: object, alias: str) -> object:
    if not isinstance(model, BaseModel):
        return None
    fields = type(model).model_fields
    return next(getattr(model, name) for name, info in fields.items() if (info.alias or name) == alias)
