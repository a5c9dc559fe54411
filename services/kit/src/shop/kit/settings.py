"""Settings that every service has. Environment variables are prefixed SHOP_; secrets may be files instead."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Literal

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from shop.kit.bus import MIN_STREAM_BYTES, STREAM_BYTES
from shop.kit.db import Pooler
from shop.kit.redaction import clean

HIDDEN = "(hidden)"
SECRETS_DIR = Path("/run/secrets/shop")
"""Where a cluster mounts secrets: one file per variable, named like it (``SHOP_DATABASE_URL``)."""


class ServiceSettings(BaseSettings):
    """Base of each service's ``Settings``; a subclass names its noun in ``service`` and adds its own fields."""

    model_config = SettingsConfigDict(
        env_prefix="SHOP_",
        secrets_dir=SECRETS_DIR if SECRETS_DIR.is_dir() else None,
        extra="ignore",
        frozen=True,
    )

    service: ClassVar[str]

    database_url: str = Field(default="", repr=False)
    database_pool_size: int = Field(default=6, ge=2, le=64)
    database_pooler: Pooler = "none"
    """``transaction`` where ``database_url`` leads to a pooler in transaction mode, such as PgBouncer."""
    nats_url: str = Field(default="nats://nats:4222", repr=False)
    stream_bytes: int = Field(default=STREAM_BYTES, ge=MIN_STREAM_BYTES)
    """What the stream of each service's events may hold."""
    jwks_url: str = "http://user:8000/.well-known/jwks.json"
    """Keys that tokens are checked with, without which a service is not ready; empty where none are checked."""
    internal_token: str = Field(default="", repr=False)
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    max_body_bytes: int = Field(default=65_536, ge=1_024)
    drain_seconds: float = Field(default=10.0, ge=0)
    outbox_retention_hours: float = Field(default=24.0, ge=0.1)
    history_retention_days: float = Field(default=90.0, ge=1)
    """How long it is kept how something went that has ended, such as the steps and changes of state of an order."""
    metrics: bool = True
    """False: nothing is counted and there is no /metrics, to compare with what counting costs."""
    discovery: Literal["fixed", "registry", "dns", "kubernetes"] = "fixed"
    """How instances of other services are found: by the URLs in the settings alone, in the registry in NATS, by all
    addresses of the names in these URLs, or by the EndpointSlices of the Services that have these names."""
    instance_url: str = ""
    """The base URL by which others reach this process, with which it is registered; empty to stay out."""
    instance_id: str = ""
    instance_zone: str = ""
    instance_grpc: str = ""
    fault_injection: bool = False
    """Whether an administrator may add delays and failures to this process's calls, as on a shop on one machine."""
    tracing_endpoint: str = ""
    trace_sample_ratio: float = Field(default=0.01, ge=0, le=1)
    traces_per_second: int = Field(default=0, ge=0, le=1_000)
    """The first reads and the first changes of each second that are sampled whatever the ratio: all of a quiet shop."""


def shown(settings: ServiceSettings) -> dict[str, str]:
    """The settings by their variables, for administrators: a value that is not in the repr is a secret and left out."""
    values = settings.model_dump(mode="json")
    fields = type(settings).model_fields
    return {
        f"SHOP_{name.upper()}": str(clean(name, value)) if fields[name].repr else HIDDEN if value else ""
        for name, value in values.items()
    }
