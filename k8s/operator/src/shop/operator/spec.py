"""The Shop resource: what a person writes to get a shop, in a cluster or on a laptop.

The custom resource definition is generated from these models, and `shopctl up` reads the same YAML.
Fields are camelCase in YAML and snake_case here. Money is in minor units of the store's currency.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from shop.operator.fields import (
    BackupDestination,
    Category,
    Country,
    CpuQuantity,
    CronSchedule,
    Currency,
    EnvName,
    Flag,
    Host,
    Image,
    Label,
    MemoryQuantity,
    Minor,
    Percent,
    ShopName,
    Url,
    Version,
    whole,
)

API_VERSION = "shops.shopkeeper.dev/v1alpha1"
KIND = "Shop"

Noun = Literal[
    "product",
    "pricing",
    "order",
    "payment",
    "user",
    "notification",
    "recommendation",
    "gateway",
    "storefront",
    "restaurant",
    "delivery",
    "player",
    "achievement",
    "leaderboard",
]
LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR"]
MAX_TAX_RULES = 500
# What the shop itself sets for each service; a different value would cut the service off.
RESERVED_ENV = ("SHOP_DATABASE_URL", "SHOP_NATS_URL", "SHOP_VALKEY_URL", "SHOP_INTERNAL_TOKEN", "SHOP_STORE")


class Part(BaseModel):
    """Base of every part of the spec: unknown fields are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=to_camel, populate_by_name=True)


class Modules(Part):
    """Which parts of the product are on."""

    retail: Flag = True
    food: Flag = False
    arcade: Flag = False
    recommendations: Flag = False


class Tax(Part):
    """A rate in percent for one country; without a category it is the country's general rate."""

    country: Country
    category: Category | None = None
    rate_percent: Percent


class Shipping(Part):
    """`flat` per order, nothing from a subtotal of `freeAbove` on."""

    flat: Minor = 0
    free_above: Minor | None = None


class Catalog(Part):
    """What the shop has to sell at first: a sample, or products from a ConfigMap."""

    sample: Literal["books"] | None = None
    config_map: Label | None = None

    @model_validator(mode="after")
    def _one_source(self) -> "Catalog":
        if (self.sample is None) == (self.config_map is None):
            raise ValueError("give exactly one of sample and configMap")
        return self


class Store(Part):
    """What customers see and pay."""

    title: Annotated[str, Field(min_length=1, max_length=80)] = "Shopkeeper"
    currency: Currency = "EUR"
    country: Country = "DE"
    taxes: Annotated[tuple[Tax, ...], Field(max_length=MAX_TAX_RULES)] = ()
    shipping: Shipping = Shipping()
    catalog: Catalog | None = None

    @model_validator(mode="after")
    def _one_rate_each(self) -> "Store":
        seen = set()
        for index, tax in enumerate(self.taxes):
            key = (tax.country, tax.category)
            if key in seen:
                raise ValueError(f"taxes[{index}] gives {tax.country} {tax.category or 'general'} a second rate")
            seen.add(key)
        return self


class Autoscaling(Part):
    """A HorizontalPodAutoscaler on CPU."""

    min_replicas: Annotated[int, whole(1, 100)] = 1
    max_replicas: Annotated[int, whole(1, 100)]
    target_cpu_utilization_percentage: Annotated[int, whole(1, 100), Field(alias="targetCPUUtilizationPercentage")] = 70

    @model_validator(mode="after")
    def _ordered(self) -> "Autoscaling":
        if self.max_replicas < self.min_replicas:
            raise ValueError(f"maxReplicas ({self.max_replicas}) must be at least minReplicas ({self.min_replicas})")
        return self


class Quantities(Part):
    cpu: CpuQuantity | None = None
    memory: MemoryQuantity | None = None


class Resources(Part):
    """Requests and limits of one service's container."""

    requests: Quantities = Quantities()
    limits: Quantities = Quantities()


class Service(Part):
    """How one service runs; everything has a default."""

    replicas: Annotated[int, whole(1, 50)] = 1
    autoscaling: Autoscaling | None = None
    resources: Resources | None = None
    image: Image | None = None
    env: dict[EnvName, str] = {}
    log_level: LogLevel = "INFO"

    @model_validator(mode="after")
    def _own_env_only(self) -> "Service":
        taken = sorted(set(self.env) & set(RESERVED_ENV))
        if taken:
            raise ValueError(f"env must not set {taken[0]}: the shop sets it")
        return self


class _Backend(Part):
    """A data store that the shop brings along, or one that exists elsewhere."""

    storage: MemoryQuantity = "5Gi"
    secret_name: Label | None = None

    @model_validator(mode="after")
    def _external_needs_secret(self) -> Any:
        if getattr(self, "mode", "Bundled") == "External" and self.secret_name is None:
            raise ValueError("mode External needs secretName, the Secret that holds the connection")
        return self


class DatabaseBackend(_Backend):
    mode: Literal["Bundled", "CloudNativePG", "External"] = "Bundled"
    instances: Annotated[int, whole(1, 9)] = 1

    @model_validator(mode="after")
    def _bundled_is_one(self) -> "DatabaseBackend":
        if self.mode == "Bundled" and self.instances > 1:
            raise ValueError("mode Bundled runs one instance; CloudNativePG runs several")
        return self


class Backend(_Backend):
    mode: Literal["Bundled", "External"] = "Bundled"


class GatewayRef(Part):
    name: Label
    namespace: Label | None = None
    section_name: Label | None = None


class Exposure(Part):
    """How the shop is reached from outside the cluster."""

    type: Literal["None", "Ingress", "Gateway"] = "None"
    host: Host | None = None
    class_name: Label | None = None
    gateway_ref: GatewayRef | None = None
    tls_secret_name: Label | None = None

    @model_validator(mode="after")
    def _complete(self) -> "Exposure":
        if self.type != "None" and self.host is None:
            raise ValueError(f"type {self.type} needs host")
        if self.type == "Gateway" and self.gateway_ref is None:
            raise ValueError("type Gateway needs gatewayRef")
        return self


class Tracing(Part):
    """Where spans go (OTLP over HTTP) and which share of requests is recorded."""

    endpoint: Url | None = None
    sample_ratio: Annotated[float, Field(ge=0, le=1, strict=True)] = 0.01


class Observability(Part):
    service_monitors: Flag = False
    rules: Flag = False
    dashboards: Flag = False
    tracing: Tracing = Tracing()


class Backup(Part):
    """`retention` is the number of backups kept."""

    schedule: CronSchedule
    retention: Annotated[int, whole(1, 365)] = 7
    destination: BackupDestination


class ShopSpec(Part):
    """Everything that a shop is; `{}` is a working shop without products."""

    version: Version | None = None
    modules: Modules = Modules()
    store: Store = Store()
    services: dict[Noun, Service] = {}
    database: DatabaseBackend = DatabaseBackend()
    messaging: Backend = Backend()
    cache: Backend = Backend()
    exposure: Exposure = Exposure()
    observability: Observability = Observability()
    network_policies: Flag = False
    pod_disruption_budgets: Flag = False
    backup: Backup | None = None
    suspend: Flag = False
    deletion_policy: Literal["Delete", "Retain"] = "Delete"

    def service(self, noun: str) -> Service:
        """How `noun` runs, defaults included."""
        return {str(name): service for name, service in self.services.items()}.get(noun, Service())


class Metadata(BaseModel):
    """The part of Kubernetes' metadata that a shop needs; the rest is let through."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    name: ShopName
    namespace: Label | None = None
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class Shop(BaseModel):
    """One whole shop. `status` is the operator's and ignored when a person writes it."""

    model_config = ConfigDict(extra="forbid", frozen=True, alias_generator=to_camel, populate_by_name=True)

    api_version: Literal["shops.shopkeeper.dev/v1alpha1"]
    kind: Literal["Shop"]
    metadata: Metadata
    spec: ShopSpec = ShopSpec()
    status: dict[str, Any] | None = Field(default=None, exclude=True)
