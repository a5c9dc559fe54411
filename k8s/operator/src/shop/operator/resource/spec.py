"""The Shop resource: the desired state of a shop, in a cluster or on a laptop.

The custom resource definition is generated from these models, and `shopctl up` reads the same YAML.
Fields are camelCase in YAML and snake_case here. Money is in minor units of the store's currency.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator
from pydantic.alias_generators import to_camel

from shop.operator.resource.fields import (
    BackupDestination,
    BackupSource,
    CronSchedule,
    FileKey,
    Flag,
    Host,
    Label,
    MemoryQuantity,
    Network,
    ShopName,
    Version,
    whole,
)
from shop.operator.resource.spec_modules import Modules
from shop.operator.resource.spec_observability import Observability
from shop.operator.resource.spec_service import NO_CARD_ENTRY, PROVIDER_ENV, SIMULATOR, Part, Service
from shop.operator.resource.spec_store import Store
from shop.operator.resource.spec_window import MaintenanceWindow
from shop.operator.services import MODULES, SERVICES, Noun

API_VERSION = "shops.shopkeeper.dev/v1alpha1"
KIND = "Shop"

NOT_BUILT = frozenset({"arcade"})
"""Modules that an earlier definition had, and defaulted to false in every Shop; both versions run during an upgrade."""
RETAIL_NEEDED = "must be true, because every shop sells from its catalogue"
MAX_SERVICES = 32
MAX_TRUSTED_PROXIES = 32
TWO_FAMILIES = "names two, which needs ipFamilyPolicy PreferDualStack or RequireDualStack"
SAME_FAMILY = "names the same family twice"


class _Backend(Part):
    """A data store: bundled with the shop, or external."""

    storage: MemoryQuantity = "5Gi"
    """Size of each volume of a bundled store."""
    secret_name: Label | None = None
    """Secret of the Shop's namespace; for External its key url says where the store is, passwords included."""

    @model_validator(mode="after")
    def _external_needs_secret(self) -> Any:
        if getattr(self, "mode", "Bundled") == "External" and self.secret_name is None:
            raise ValueError("mode External needs secretName, the Secret that holds the connection")
        return self


class CertificateAuthority(Part):
    """CA certificates that verify the server, for URLs with sslmode verify-ca or verify-full."""

    secret_name: Label | None = None
    """Secret of the Shop's namespace that holds them."""
    config_map: Label | None = None
    """ConfigMap of the Shop's namespace that holds them."""
    key: FileKey = "ca.crt"
    """Key of the PEM file in it."""

    @model_validator(mode="after")
    def _one_source(self) -> "CertificateAuthority":
        if (self.secret_name is None) == (self.config_map is None):
            raise ValueError("give exactly one of secretName and configMap")
        return self


class DatabaseBackend(_Backend):
    """PostgreSQL: bundled with the shop, a CloudNativePG cluster, or an external server."""

    mode: Literal["Bundled", "CloudNativePG", "External"] = "Bundled"
    """It cannot be changed, because data is not migrated. Create a new Shop with restoreFrom instead."""
    secret_name: Label | None = None
    """Secret of the Shop's namespace; for External it has a key per service, such as order: its database's URL."""
    instances: Annotated[int, whole(1, 9)] = 1
    """Servers of a CloudNativePG cluster, the standbys included."""
    max_connections: Annotated[int, whole(20, 10_000)] | None = None
    """Connections that the server or its pooler accepts; if left out, what the services need, for External unknown."""
    pooler: Literal["None", "Transaction"] = "None"
    """Transaction: the URLs of an External server lead to a pooler in transaction mode, such as PgBouncer. Under each
    key followed by -direct the Secret then has the URL of the server itself, for migrations and backups."""
    ca: CertificateAuthority | None = None
    """CA certificates that verify an External server and its pooler."""

    @model_validator(mode="after")
    def _only_a_cluster_has_several(self) -> "DatabaseBackend":
        if self.mode != "CloudNativePG" and self.instances > 1:
            raise ValueError(f"mode {self.mode} has one instance; CloudNativePG runs several")
        return self

    @model_validator(mode="after")
    def _only_an_external_one_is_reached_differently(self) -> "DatabaseBackend":
        if self.mode != "External" and (self.pooler != "None" or self.ca is not None):
            raise ValueError("pooler and ca are for mode External")
        return self


class Backend(_Backend):
    mode: Literal["Bundled", "External"] = "Bundled"
    """Bundled: installed with the shop. External: an existing server."""


class CacheBackend(Backend):
    storage: MemoryQuantity = "1Gi"
    """Size of the volume of a bundled store, which keeps carts across restarts."""


class GatewayRef(Part):
    """A Gateway of the Gateway API."""

    name: Label
    """Its name."""
    namespace: Label | None = None
    """Its namespace; left out, the Shop's own."""
    section_name: Label | None = None
    """One of its listeners; left out, all that fit."""


class Exposure(Part):
    """How the shop is reached from outside the cluster."""

    type: Literal["None", "Ingress", "Gateway"] = "None"
    """None leaves the Service <shop>-gateway to port forwarding or a load balancer of your own."""
    host: Host | None = None
    """Host name of the shop, also in the links of mails."""
    class_name: Label | None = None
    """IngressClass; left out, the cluster's default."""
    trusted_proxies: Annotated[tuple[Network, ...], Field(max_length=MAX_TRUSTED_PROXIES)] = ()
    """Networks of proxies whose X-Forwarded headers are trusted; default for Ingress and Gateway: private ones."""
    gateway_ref: GatewayRef | None = None
    """Where an HTTPRoute is attached, for type Gateway."""
    tls_secret_name: Label | None = None
    """Secret with the certificate, for type Ingress. A Gateway's listener has its own."""

    @model_validator(mode="after")
    def _complete(self) -> "Exposure":
        if self.type != "None" and self.host is None:
            raise ValueError(f"type {self.type} needs host")
        if self.type == "Gateway" and self.gateway_ref is None:
            raise ValueError("type Gateway needs gatewayRef")
        if self.type == "Gateway" and self.tls_secret_name is not None:
            raise ValueError("tlsSecretName is for type Ingress; a Gateway's listener has its own certificate")
        return self


def _secret_for_s3(place: str, secret_name: str | None, field: str) -> None:
    if place.startswith("s3://") and secret_name is None:
        raise ValueError(f"{field} s3://… needs secretName, the Secret with the bucket's endpoint and keys")


class Backup(Part):
    """A CronJob that dumps every database of the shop as of one moment."""

    schedule: CronSchedule
    """Five fields as in crontab, in the time zone of the cluster: "15 3 * * *" is every night at 3:15."""
    retention: Annotated[int, whole(1, 365)] = 7
    """Number of backups kept; older ones are deleted after a new one is complete."""
    destination: BackupDestination
    """pvc://CLAIM/path, a volume claim of the Shop's namespace, or s3://BUCKET/path."""
    secret_name: Label | None = None
    """Secret with the bucket's endpoint and keys, for s3://."""

    @model_validator(mode="after")
    def _complete(self) -> "Backup":
        _secret_for_s3(self.destination, self.secret_name, "destination")
        return self


class RestoreFrom(Part):
    """A backup that a new Shop is restored from."""

    source: BackupSource
    """pvc://CLAIM/path or s3://BUCKET/path, followed by /BACKUP for a certain backup; otherwise the newest."""
    secret_name: Label | None = None
    """Secret with the bucket's endpoint and keys, for s3://."""

    @model_validator(mode="after")
    def _complete(self) -> "RestoreFrom":
        _secret_for_s3(self.source, self.secret_name, "source")
        return self


class ShopSpec(Part):
    """Desired state of a shop; every field is optional. Fields marked cluster only have no effect in `shopctl up`."""

    version: Version | None = None
    """Of images and charts, one that the operator includes; if left out, the operator's own. Cluster only."""
    modules: Modules = Modules()
    """Which parts of the product are on."""
    store: Store = Store()
    """Title, currency, countries, taxes, shipping and catalogue."""
    services: Annotated[dict[Noun, Service], Field(max_length=MAX_SERVICES)] = {}  # noqa: RUF012 - pydantic copies it
    """Settings of single services by name, such as order, where they differ from the defaults."""
    database: DatabaseBackend = DatabaseBackend()
    """The PostgreSQL server. Cluster only: on a laptop it is embedded."""
    messaging: Backend = Backend()
    """The NATS server, for events. Cluster only: on a laptop it is embedded."""
    cache: CacheBackend = CacheBackend()
    """The Valkey server, for carts. Cluster only: on a laptop it is embedded."""
    exposure: Exposure = Exposure()
    """How the shop is reached from outside the cluster. Cluster only."""
    observability: Observability = Observability()
    """ServiceMonitors, alert rules, dashboards and traces."""
    network_policies: Flag = True
    """Allow only declared callers to connect; the cluster's network must enforce NetworkPolicies. Cluster only."""
    discovery: Literal["Service", "DNS"] = "Service"
    """How services find each other's pods: by Services, which spread connections, or by DNS with headless Services, so
    that requests go where they cost least. Cluster only."""
    ip_family_policy: Literal["SingleStack", "PreferDualStack", "RequireDualStack"] | None = None
    """Families of the Services' addresses; left out, the cluster's default. Cluster only."""
    ip_families: Annotated[tuple[Literal["IPv4", "IPv6"], ...], Field(max_length=2)] = ()
    """IPv4, IPv6 or both, the first being that of the first address; left out, the cluster's choice. Cluster only."""
    pod_disruption_budgets: Flag = True
    """Draining a node takes one pod of a service at a time. Cluster only."""
    backup: Backup | None = None
    """Scheduled backups. Cluster only."""
    restore_from: RestoreFrom | None = None
    """The backup that this Shop is restored from; it can only be set at creation. Cluster only."""
    rollback: Literal["Automatic", "Manual"] = "Automatic"
    """Automatic returns to the last good revision when a rollout misses its deadline; Manual waits. Cluster only."""
    progress_deadline_seconds: Annotated[int, whole(60, 3600)] = 600
    """How long a rollout, all its waves together, may take to become healthy. Cluster only."""
    maintenance_window: MaintenanceWindow | None = None
    """When a new version of the operator may be rolled out here; left out, the operator's own. Cluster only."""
    suspend: Flag = False
    """Stops the reconciliation of this Shop: nothing is changed, repaired or rolled back. Cluster only."""
    deletion_policy: Literal["Delete", "Retain"] = "Delete"
    """Whether to delete data and secrets with the Shop; after Retain a new Shop of its name uses them. Cluster only."""

    @field_validator("modules", mode="before")
    @classmethod
    def _without_modules_that_were_never_built(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        return {name: on for name, on in given.items() if not (name in NOT_BUILT and on is False)}

    @field_validator("services")
    @classmethod
    def _cards_that_the_storefront_takes(cls, services: dict[Noun, Service]) -> dict[Noun, Service]:
        for noun, service in services.items():
            if noun == "payment" and service.env.get(PROVIDER_ENV, SIMULATOR) != SIMULATOR:
                raise ValueError(f"payment.env.{PROVIDER_ENV} {NO_CARD_ENTRY}")
        return services

    @field_validator("ip_families")
    @classmethod
    def _families_that_a_service_can_have(cls, families: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        if len(families) > 1 and info.data.get("ip_family_policy") in {None, "SingleStack"}:
            raise ValueError(TWO_FAMILIES)
        if len(set(families)) < len(families):
            raise ValueError(SAME_FAMILY)
        return families

    @property
    def nouns(self) -> tuple[Noun, ...]:
        """The services that run: what every shop has, and those of the modules that are on."""
        return tuple(
            noun
            for noun in SERVICES
            if noun not in MODULES or any(getattr(self.modules, module) for module in MODULES[noun])
        )

    def service(self, noun: str) -> Service:
        """How `noun` runs, defaults included."""
        return {str(name): service for name, service in self.services.items()}.get(noun, Service())


class Metadata(BaseModel):
    """The part of Kubernetes' metadata that a shop needs; other fields are ignored."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    name: ShopName
    namespace: Label | None = None
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class Shop(BaseModel):
    """A shop. `status` is written by the operator and ignored here."""

    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=to_camel, populate_by_name=True)

    api_version: Literal["shops.shopkeeper.dev/v1alpha1"]
    kind: Literal["Shop"]
    metadata: Metadata
    spec: ShopSpec = ShopSpec()
    status: dict[str, Any] | None = Field(default=None, exclude=True)

    def with_module(self, name: str, *, on: bool) -> "Shop":
        """The same Shop with one module turned on or off."""
        modules = self.spec.modules.model_copy(update={name: on})
        return self.model_copy(update={"spec": self.spec.model_copy(update={"modules": modules})})
