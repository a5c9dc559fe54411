"""How the operator runs, from the environment: a variable is the field's name in capitals, prefixed SHOP_OPERATOR_."""

import os
from collections.abc import Iterable
from importlib.metadata import version
from typing import Annotated

from pydantic import BeforeValidator, Field
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from shop.operator.engine.render.values import LOCAL_REGISTRY
from shop.operator.resource.spec_window import MaintenanceWindow


def _names(given: str | Iterable[str]) -> tuple[str, ...]:
    """Comma-separated names, each once."""
    listed = given.split(",") if isinstance(given, str) else given
    return tuple(sorted({name.strip() for name in listed if name.strip()}))


Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_names)]


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="SHOP_OPERATOR_")

    namespaces: Names = ()
    """Whose Shops are managed; none are all."""
    namespace: str = ""
    """The operator's own, for the Lease."""
    lease: str = "shop-operator"
    identity: str = Field(default_factory=lambda: os.environ.get("HOSTNAME") or f"process-{os.getpid()}")
    port: int = 8000
    log_level: str = "INFO"
    workers: int = Field(default=6, ge=1, le=64)
    """Shops reconciled at once."""
    version: str = Field(default_factory=lambda: version("shop-operator"))
    image_registry: str = LOCAL_REGISTRY
    image_pull_policy: str = ""
    image_pull_secrets: Names = ()
    resync_s: float = Field(default=300.0, gt=0)
    """Interval at which all Shops are reconciled again, give or take a tenth."""
    first_list_s: float = Field(default=240.0, gt=0)
    """How long the first list of a kind may take: all retries of one page take less."""
    upgrade_at_once: int = Field(default=5, ge=1)
    """Shops that a new version is rolled out to at the same time."""
    upgrade_max_failures: int = Field(default=1, ge=1)
    """Failed Shops from which on no other rollout starts."""
    upgrade_canary_ready_s: float = Field(default=300.0, ge=0)
    """How long every canary must have been ready before the other Shops follow."""
    upgrade_window: MaintenanceWindow | None = None
    """When rollouts of a new version begin, as JSON like spec.maintenanceWindow; without one at any time."""
