"""How one service of a Shop runs: the part of the spec that `services` maps nouns to, and the base of every part."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from shop.operator.resource.fields import CpuQuantity, EnvName, EnvValue, Image, MemoryQuantity, whole

LogLevel = Literal["DEBUG", "INFO", "WARNING", "ERROR"]
MAX_ENV = 64

PROVIDER_ENV = "SHOP_PAYMENT_PROVIDER"
SIMULATOR = "simulator"
NO_CARD_ENTRY = "must be simulator, because the storefront takes test cards and no real ones yet"
NO_TARGET = "targetCPUUtilizationPercentage 0 needs targetRequestsPerSecond"
SAMPLE_DATA = {"pricing": "SHOP_SAMPLE_PROMOTIONS", "restaurant": "SHOP_SAMPLE_RESTAURANTS"}
"""By service, the variable that loads its part of a sample; on when spec.store.catalog.sample names one."""
# Set by the shop for each service; another value would disconnect the service.
RESERVED_ENV = ("SHOP_DATABASE_URL", "SHOP_NATS_URL", "SHOP_VALKEY_URL", "SHOP_INTERNAL_TOKEN", "SHOP_STORE")


class Part(BaseModel):
    """Base of every part of the spec: unknown fields are rejected. The string below a field is its description."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, alias_generator=to_camel, populate_by_name=True, use_attribute_docstrings=True
    )


class Autoscaling(Part):
    """A HorizontalPodAutoscaler on CPU, requests or both; for CPU the cluster needs metrics-server."""

    min_replicas: Annotated[int, whole(1, 100)] = 1
    """Minimum number of pods."""
    max_replicas: Annotated[int, whole(1, 100)]
    """Maximum number of pods."""
    target_cpu_utilization_percentage: Annotated[int, whole(0, 100), Field(alias="targetCPUUtilizationPercentage")] = 70
    """Share of the requested CPU that pods should use on average; 0 leaves it out."""
    target_requests_per_second: Annotated[int, whole(1, 100_000)] | None = None
    """HTTP requests that a pod should answer; needs shop_http_requests_per_second at custom.metrics.k8s.io."""

    @model_validator(mode="after")
    def _ordered(self) -> "Autoscaling":
        if self.max_replicas < self.min_replicas:
            raise ValueError(f"maxReplicas ({self.max_replicas}) must be at least minReplicas ({self.min_replicas})")
        if not self.target_cpu_utilization_percentage and self.target_requests_per_second is None:
            raise ValueError(NO_TARGET)
        return self


class Quantities(Part):
    """If left out, the chart's default applies."""

    cpu: CpuQuantity | None = None
    """Such as 250m or 0.5."""
    memory: MemoryQuantity | None = None
    """Such as 256Mi."""


class Resources(Part):
    """Resource requests and limits of a pod."""

    requests: Quantities = Quantities()
    """Resources reserved for the pod."""
    limits: Quantities = Quantities()
    """Above its memory limit a container is killed; CPU is throttled."""


class Service(Part):
    """Settings of one service; each has a default."""

    replicas: Annotated[int, whole(1, 50)] = 1
    """Pods (on a laptop: processes). Without effect where autoscaling is set."""
    autoscaling: Autoscaling | None = None
    """Scales by load; the operator then leaves the number of replicas alone. Cluster only."""
    resources: Resources | None = None
    """Requests and limits of the container. Cluster only."""
    image: Image | None = None
    """Image instead of the one of spec.version. Cluster only."""
    env: Annotated[dict[EnvName, EnvValue], Field(max_length=MAX_ENV)] = {}
    """Additional environment variables; those that the shop itself sets are rejected."""
    log_level: LogLevel = "INFO"
    """The least severe level that is logged."""

    @model_validator(mode="after")
    def _own_env_only(self) -> "Service":
        taken = sorted(set(self.env) & set(RESERVED_ENV))
        if taken:
            raise ValueError(f"env must not set {taken[0]}: the shop sets it")
        return self
