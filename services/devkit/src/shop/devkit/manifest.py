"""What a service says about itself: the `[tool.shop]` table of its pyproject.toml.

Every list of services in the project is generated from these tables (`make generate`); docs/adr/0025 says why.
"""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

SERVICES = "services"
FILE = "pyproject.toml"
TABLE = "tool.shop"
CORE = "core"
"""The module of what every shop has."""
RETAIL = "retail"
"""The one module that is on in a Shop that does not say; a Shop turns every other one on itself."""
API_PREFIX = "/api/v1/"
JWKS_PREFIX: Final = ".well-known"
MAX_ITEMS = 32

NOUN: Final = re.compile(r"^[a-z][a-z0-9]{1,30}$")
Noun = Annotated[str, StringConstraints(pattern=NOUN.pattern)]
Segment = Annotated[str, StringConstraints(pattern=r"^[a-z.][a-z0-9.-]{0,40}$")]
PathTemplate = Annotated[str, StringConstraints(pattern=r"^(/([a-z0-9.-]+|\{[a-z_]+\}))+$", max_length=200)]
Variable = Annotated[str, StringConstraints(pattern=r"^SHOP_[A-Z0-9_]+$", max_length=80)]
SecretKey = Annotated[str, StringConstraints(pattern=r"^[a-z]+\.[a-zA-Z]+$")]
EventType = Annotated[str, StringConstraints(pattern=r"^[a-z]+\.[a-z_]+\.v[1-9]$")]
Quantity = Annotated[str, StringConstraints(pattern=r"^[0-9]+(m|Mi|Gi)?$")]
Several = Field(default=(), max_length=MAX_ITEMS)


class ManifestError(ValueError):
    """A manifest is wrong; the message is one line that names the file and the field."""


def _kebab(name: str) -> str:
    return name.replace("_", "-")


class Table(BaseModel):
    """Base of every table: keys in kebab-case, unknown ones refused."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, alias_generator=_kebab, use_attribute_docstrings=True
    )


class ConfigEntry(Table):
    """An environment variable that the chart sets."""

    value: str
    """May be a template of Helm; an empty value leaves the variable out."""
    about: str = ""
    """A comment in the chart's values."""


class Amounts(Table):
    cpu: Quantity | None = None
    memory: Quantity | None = None


class Resources(Table):
    requests: Amounts = Amounts()
    limits: Amounts = Amounts()


class Manifest(Table):
    """One service. What is left out is not used by it."""

    description: str = ""
    """The package's own, in one sentence."""
    modules: tuple[Noun, ...] = Field(min_length=1, max_length=MAX_ITEMS)
    """The modules of a Shop that need it, or `core` alone for what every shop has."""

    api: tuple[Segment, ...] = Several
    """Plural nouns: /api/v1/<noun>/... leads to this service."""
    prefixes: tuple[Segment, ...] = Several
    """First path segments besides the API's that lead to it, such as mailbox."""
    ingress: bool = False
    """Whether clients outside the shop connect to it. It calls every other service."""
    fallback: bool = False
    """Whether a path that no other service has leads to it."""
    public_reads: tuple[Segment, ...] = Several
    """Those of `api` that are read without a token."""
    public_posts: tuple[PathTemplate, ...] = Several
    """Paths to which a POST needs no token."""
    sign_in: tuple[PathTemplate, ...] = Several
    """Paths where a POST makes the user service hash a password: the gateway limits these more strictly."""
    idempotency_keys: tuple[PathTemplate, ...] = Several
    """Paths where a POST with an Idempotency-Key is carried out once, however often it comes."""
    event_streams: tuple[PathTemplate, ...] = Several
    """Paths that answer with server-sent events."""

    database: bool = False
    """Whether it has a PostgreSQL database and role of its own."""
    broker: bool = False
    """Whether it publishes or consumes events; the outbox and the inbox need a database."""
    cache: bool = False
    """Whether it uses Valkey."""
    store_settings: bool = False
    """Whether it reads SHOP_STORE: title, currency, countries, taxes."""
    calls: tuple[Noun, ...] = Several
    """Services whose API it calls; their addresses are in SHOP_<NOUN>_URL, those of gRPC in SHOP_<NOUN>_GRPC_URL."""
    grpc_port: Annotated[int, Field(ge=1_024, le=65_535)] | None = None
    """Where it serves gRPC, beside HTTP on 8000; its API is contracts/proto/shop/<noun>/v1/<noun>.proto."""
    observes: bool = False
    """Whether it reads the metrics of every service, and every service may send it the spans of its traces."""
    single_process_locally: bool = False
    """Whether `shopctl up` runs one process of it, whatever the number of replicas."""

    config: dict[Variable, ConfigEntry] = Field(default={}, max_length=MAX_ITEMS)
    """Environment variables that the chart sets for it alone."""
    secrets: dict[Variable, SecretKey] = Field(default={}, max_length=MAX_ITEMS)
    """Environment variables from a Secret of the shop: `<kind>.<key>`, such as admin.email."""
    replicas: Annotated[int, Field(ge=1, le=50)] = 1
    resources: Resources | None = None
    """Of its pods, where charts/service's default does not fit."""
    consumes: tuple[EventType, ...] = Several
    """Events that it consumes."""
    audited_events: tuple[EventType, ...] = Several
    """Those of `consumes` that `shopctl audit` must find in its inbox."""

    @property
    def optional(self) -> bool:
        """Whether a shop is without it unless its Shop turns a module on."""
        return not {CORE, RETAIL} & set(self.modules)

    @property
    def edge(self) -> bool:
        """Whether customers' requests reach it first; it is rolled out after the services behind it."""
        return self.ingress or self.fallback

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if CORE in self.modules and len(self.modules) > 1:
            raise ValueError(f"modules: {CORE} stands alone, for every shop has it")
        if self.broker and not self.database:
            raise ValueError("broker: needs database = true, for the outbox and the inbox")
        if self.consumes and not self.broker:
            raise ValueError("consumes: needs broker = true")
        for field, within in (("public_reads", "api"), ("audited_events", "consumes")):
            for value in getattr(self, field):
                if value not in getattr(self, within):
                    raise ValueError(f"{_kebab(field)}: {value} is not in {within}")
        return self

    @model_validator(mode="after")
    def _own_paths(self) -> Self:
        for field in ("public_posts", "idempotency_keys", "event_streams"):
            for path in getattr(self, field):
                if not self._serves(path):
                    raise ValueError(f"{_kebab(field)}: {path} is not below {API_PREFIX} and one of api")
        return self

    def _serves(self, path: str) -> bool:
        return path.startswith(API_PREFIX) and path.removeprefix(API_PREFIX).split("/")[0] in self.api


Manifests = Mapping[str, Manifest]
"""By noun: the services behind the edge in alphabetical order, then those at the edge, the ingress last."""


def read(root: Path) -> Manifests:
    """The manifest of every service below `root`; ManifestError when one is wrong or two contradict each other."""
    found = {path.parent.name: _parse(path, root) for path in sorted((root / SERVICES).glob(f"*/{FILE}"))}
    manifests = {noun: manifest for noun, manifest in found.items() if manifest is not None}
    for noun, problem in _contradictions(manifests):
        raise ManifestError(f"{SERVICES}/{noun}/{FILE}: {TABLE}.{problem}")
    return dict(sorted(manifests.items(), key=lambda item: (item[1].edge, item[1].ingress, item[0])))


def _parse(path: Path, root: Path) -> Manifest | None:
    """None for a package that is no service, because it has no such table."""
    name = path.relative_to(root).as_posix()
    try:
        document: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise ManifestError(f"{name}: {error}") from error
    table = document.get("tool", {}).get("shop")
    if table is None:
        return None
    if not NOUN.fullmatch(path.parent.name):
        raise ManifestError(f"{name}: a service's folder is one word of lower-case letters and digits")
    try:
        # By way of JSON, because strict validation takes no list for a tuple otherwise.
        described = {"description": document.get("project", {}).get("description", ""), **table}
        return Manifest.model_validate_json(json.dumps(described, default=str))
    except ValidationError as error:
        raise ManifestError(f"{name}: {TABLE}{_first_problem(error)}") from error


def _first_problem(error: ValidationError) -> str:
    first = error.errors()[0]
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    return f"{place}: {message}" if place else f".{message}"


def _contradictions(manifests: Manifests) -> Iterator[tuple[str, str]]:
    """The noun of each service that contradicts another one, and what is wrong."""
    for noun, manifest in manifests.items():
        for field, others in (("calls", manifest.calls), ("consumes", publishers(manifest))):
            missing = [other for other in others if other not in manifests or other == noun]
            yield from ((noun, f"{field}: there is no other service {other}") for other in missing)
    for field in ("api", "prefixes"):
        owners: dict[str, str] = {}
        for noun, manifest in manifests.items():
            taken = [segment for segment in getattr(manifest, field) if segment in owners]
            yield from ((noun, f"{field}: {segment} leads to {owners[segment]} already") for segment in taken)
            owners |= dict.fromkeys(getattr(manifest, field), noun)
    for field in ("ingress", "fallback"):
        chosen = [noun for noun, manifest in manifests.items() if getattr(manifest, field)]
        yield from ((noun, f"{field}: {chosen[0]} has it already") for noun in chosen[1:])


def _owner(manifests: Manifests, entry: str, has: Callable[[Manifest], bool]) -> str:
    """The service whose manifest has an entry that one must have; ManifestError when none has."""
    found = next((noun for noun, manifest in manifests.items() if has(manifest)), None)
    if found is None:
        raise ManifestError(f"{SERVICES}/*/{FILE}: one service must have {entry} in its table {TABLE}")
    return found


def ingress_of(manifests: Manifests) -> str:
    return _owner(manifests, "ingress = true", lambda manifest: manifest.ingress)


def fallback_of(manifests: Manifests) -> str:
    return _owner(manifests, "fallback = true", lambda manifest: manifest.fallback)


def keys_of(manifests: Manifests) -> str:
    """The service with the public keys by which tokens are verified."""
    return _owner(manifests, f'prefixes = ["{JWKS_PREFIX}"]', lambda manifest: JWKS_PREFIX in manifest.prefixes)


def callers(manifests: Manifests, noun: str) -> list[str]:
    """The services that may connect to `noun`: its callers, the ingress and what observes; every one, where it serves
    the public keys or observes itself."""
    serves_all = JWKS_PREFIX in manifests[noun].prefixes or manifests[noun].observes
    found = [
        other
        for other, manifest in manifests.items()
        if noun in manifest.calls or (other != noun and (manifest.ingress or manifest.observes)) or serves_all
    ]
    return sorted(found, key=lambda other: (not manifests[other].edge, other))


def publishers(manifest: Manifest) -> list[str]:
    """The services whose events it consumes, each once."""
    return sorted({event.split(".")[0] for event in manifest.consumes})


def called(manifests: Manifests, noun: str) -> list[str]:
    """The services whose addresses `noun` needs."""
    manifest = manifests[noun]
    everyone = manifest.ingress or manifest.observes
    return [other for other in manifests if other != noun] if everyone else list(manifest.calls)
