"""The operator's process: serve probes, become leader, run the controller until stopped or no longer leader.

    python -m shop.operator.engine.main

Settings come from the environment, prefixed SHOP_OPERATOR_: NAMESPACES (comma-separated, empty for all), NAMESPACE
(its own, for the Lease), PORT, LOG_LEVEL, WORKERS, RESYNC_S, FIRST_LIST_S, IMAGE_REGISTRY; of the rollout of a new
version UPGRADE_AT_ONCE, UPGRADE_MAX_FAILURES, UPGRADE_CANARY_READY_S, UPGRADE_WINDOW (JSON as spec.maintenanceWindow).

kopf runs the process: signals, login, start-up and clean-up. The controller watches (docs/adr/0027).
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import sys
from importlib.metadata import version
from typing import Any, cast

import kopf
import uvloop
from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from shop.kit.logging import configure
from shop.operator.engine.controller import FIRST_LIST_S, RESYNC_S, WORKERS, Controller, Options
from shop.operator.engine.leader import Lease
from shop.operator.engine.metrics import LEADER, count_request
from shop.operator.engine.probe_server import probe_server
from shop.operator.engine.reconcile.upgrades import AT_ONCE, CANARY_READY_S, MAX_FAILURES, Limits
from shop.operator.engine.render.renderer import HelmNotFound, Renderer, find_charts, find_helm
from shop.operator.engine.render.values import LOCAL_REGISTRY, Images
from shop.operator.kube.client import Kube
from shop.operator.kube.login import LoginError
from shop.operator.kube.objects import MANAGER
from shop.operator.resource.spec_window import MaintenanceWindow

LEASE_NAME = "shop-operator"
DISCOVERY_BACKOFFS_S = (0.2, 0.5, 1.0, 2.0, 5.0, 5.0, 10.0, 10.0, 10.0, 15.0, 15.0)
"""Between kopf's attempts to reach the API server when it starts; then the process ends and is started again."""


class Settings(BaseSettings):
    """How the operator runs."""

    model_config = SettingsConfigDict(env_prefix="SHOP_OPERATOR_")

    namespaces: str = ""
    namespace: str = ""
    lease: str = LEASE_NAME
    identity: str = Field(default_factory=lambda: os.environ.get("HOSTNAME") or f"process-{os.getpid()}")
    port: int = 8000
    log_level: str = "INFO"
    workers: int = Field(default=WORKERS, ge=1, le=64)
    version: str = Field(default_factory=lambda: version("shop-operator"))
    image_registry: str = LOCAL_REGISTRY
    image_pull_policy: str = ""
    image_pull_secrets: str = ""
    resync_s: float = Field(default=RESYNC_S, gt=0)
    first_list_s: float = Field(default=FIRST_LIST_S, gt=0)
    upgrade_at_once: int = Field(default=AT_ONCE, ge=1)
    upgrade_max_failures: int = Field(default=MAX_FAILURES, ge=1)
    upgrade_canary_ready_s: float = Field(default=CANARY_READY_S, ge=0)
    upgrade_window: MaintenanceWindow | None = None


def names(listed: str) -> tuple[str, ...]:
    """Comma-separated names, each once."""
    return tuple(sorted({name.strip() for name in listed.split(",") if name.strip()}))


class Operator:
    """One process, run by kopf until a signal, the loss of the Lease or the end of the controller."""

    def __init__(self, settings: Settings, renderer: Renderer, kube: Kube) -> None:
        self.exit_status = 0
        self._lease = Lease(kube, settings.namespace or kube.namespace, settings.lease, settings.identity)
        limits = Limits(
            at_once=settings.upgrade_at_once,
            max_failures=settings.upgrade_max_failures,
            canary_ready_s=settings.upgrade_canary_ready_s,
            window=settings.upgrade_window,
        )
        namespaces = names(settings.namespaces)
        options = Options(namespaces, settings.workers, settings.resync_s, settings.first_list_s, limits)
        self._controller = Controller(kube, renderer, options)
        self._stop, self._lost = asyncio.Event(), asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._leads = False

    async def run(self) -> None:
        registry = kopf.OperatorRegistry()
        kopf.on.login(registry=registry)(_log_in)
        kopf.on.startup(registry=registry)(self._start)
        kopf.on.cleanup(registry=registry)(self._clean_up)
        settings = kopf.OperatorSettings()
        settings.posting.enabled = False
        settings.scanning.disabled = True
        settings.networking.error_backoffs = DISCOVERY_BACKOFFS_S
        logging.getLogger("kopf").setLevel(logging.ERROR)
        await kopf.operator(
            registry=registry,
            settings=settings,
            standalone=True,
            clusterwide=True,
            # Else kopf asks the system for the user's name, and a container's user has none.
            identity=cast("Any", MANAGER),
            stop_flag=self._stop,
        )

    async def _start(self, **_: Any) -> None:
        """Wait for the Lease, then begin. A signal cancels the wait."""
        await self._lease.acquire()
        LEADER.set(1)
        self._leads = True
        holding = asyncio.create_task(self._lease.hold())
        holding.add_done_callback(lambda _: self._lost.set())
        self._tasks = [holding, asyncio.create_task(self._controller.run(self._stop, self._lost))]
        for task in self._tasks:
            task.add_done_callback(lambda _: self._stop.set())

    async def _clean_up(self, **_: Any) -> None:
        """Let reconciles under way end, then let another operator lead at once."""
        holding, controlling = self._tasks
        lost = holding.done()
        self.exit_status = int(lost or controlling.done())
        self._stop.set()
        try:
            await controlling
        finally:
            LEADER.set(0)
            holding.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await holding
            if not lost:
                await self._lease.release()

    def liveness_error(self) -> str:
        return self._controller.liveness_error() if self._leads else ""

    def readiness_error(self) -> str:
        """A standby is ready: a new version would otherwise wait for the old leader to stop, and the reverse."""
        return self._controller.readiness_error() if self._leads else ""


def _log_in(**kwargs: Any) -> Any:
    return kopf.login_with_service_account(**kwargs) or kopf.login_with_kubeconfig(**kwargs)


async def serve(settings: Settings) -> int:
    """Exit status 0 after a stop, 1 when the Lease was lost or the controller ended by itself."""
    images = Images(settings.image_registry, settings.image_pull_policy, names(settings.image_pull_secrets))
    renderer = Renderer(find_helm(), find_charts(), settings.version, images=images)
    async with Kube() as kube:
        kube.observer = count_request
        operator = Operator(settings, renderer, kube)
        gc.freeze()
        async with probe_server(settings.port, live=operator.liveness_error, ready=operator.readiness_error):
            await operator.run()
        return operator.exit_status


def main() -> None:
    settings = Settings()
    configure("shop-operator", settings.log_level)
    try:
        sys.exit(uvloop.run(serve(settings)))
    except (LoginError, HelmNotFound) as error:
        sys.exit(f"shop-operator: {error}")


if __name__ == "__main__":
    main()
