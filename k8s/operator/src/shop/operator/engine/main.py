"""The operator's process: serve probes, become leader, run the engine until told to stop or no longer leader.

    python -m shop.operator.engine.main

Settings come from the environment, prefixed SHOP_OPERATOR_: NAMESPACES (comma-separated, empty for all), NAMESPACE
(its own, for the Lease), PORT, LOG_LEVEL, WORKERS, RESYNC_S, FIRST_LIST_S, IMAGE_REGISTRY; of the rollout of a new
version UPGRADE_AT_ONCE, UPGRADE_MAX_FAILURES, UPGRADE_CANARY_READY_S, UPGRADE_WINDOW (JSON as spec.maintenanceWindow).
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import sys
from importlib.metadata import version

import uvloop
from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from shop.kit.logging import configure
from shop.operator.engine.controller import FIRST_LIST_S, RESYNC_S, WORKERS, Controller, Options
from shop.operator.engine.kube.client import Kube
from shop.operator.engine.kube.login import LoginError
from shop.operator.engine.leader import Lease
from shop.operator.engine.metrics import LEADER, ApiRequests
from shop.operator.engine.probe_server import Probes
from shop.operator.engine.reconcile.upgrades import AT_ONCE, CANARY_READY_S, MAX_FAILURES, Limits
from shop.operator.engine.render.renderer import HelmNotFound, Images, Renderer, find_charts, find_helm
from shop.operator.engine.render.values import LOCAL_REGISTRY
from shop.operator.spec_window import MaintenanceWindow

LEASE_NAME = "shop-operator"


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

    @property
    def watched(self) -> tuple[str, ...]:
        return names(self.namespaces)

    @property
    def images(self) -> Images:
        return Images(self.image_registry, self.image_pull_policy, names(self.image_pull_secrets))


def names(listed: str) -> tuple[str, ...]:
    """Comma-separated names, each once."""
    return tuple(sorted({name.strip() for name in listed.split(",") if name.strip()}))


class Operator:
    """One process; `stop` ends it in order."""

    def __init__(self, settings: Settings, renderer: Renderer) -> None:
        self._settings = settings
        self._renderer = renderer
        self._engine: Controller | None = None
        self._lost = asyncio.Event()
        self.stop = asyncio.Event()

    async def run(self) -> int:
        """Serve until stopped (0), or until no longer leader or cut off (1): a new process then waits its turn."""
        async with Kube.connect() as kube, self._probes():
            kube.observer = ApiRequests()
            lease = Lease(
                kube, self._settings.namespace or kube.namespace, self._settings.lease, self._settings.identity
            )
            if not await self._lead(lease):
                return 0
            LEADER.set(1)
            held = asyncio.create_task(lease.hold())
            held.add_done_callback(lambda _: self._end())
            try:
                self._engine = Controller(kube, self._renderer, self._options())
                await self._engine.run(self.stop, self._lost)
                in_order = self.stop.is_set() and not held.done()
            finally:
                LEADER.set(0)
                lost = held.done()
                held.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await held
                if not lost:
                    await lease.release()
            return int(not in_order)

    def _end(self) -> None:
        """No longer leader: stop, and at once."""
        self._lost.set()
        self.stop.set()

    def _options(self) -> Options:
        settings = self._settings
        limits = Limits(
            settings.upgrade_at_once,
            settings.upgrade_max_failures,
            settings.upgrade_canary_ready_s,
            settings.upgrade_window,
        )
        return Options(settings.watched, settings.workers, settings.resync_s, settings.first_list_s, limits)

    def _probes(self) -> Probes:
        return Probes(self._settings.port, live=self._trouble, ready=self._unready)

    def _trouble(self) -> str:
        return self._engine.liveness_error() if self._engine else ""

    def _unready(self) -> str:
        return self._engine.readiness_error() if self._engine else ""

    async def _lead(self, lease: Lease) -> bool:
        """Wait for the Lease; False when told to stop before."""
        waiting = asyncio.create_task(lease.acquire())
        stopped = asyncio.create_task(self.stop.wait())
        await asyncio.wait((waiting, stopped), return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if not waiting.done():
            waiting.cancel()
            return False
        await waiting
        return True


async def serve(settings: Settings) -> int:
    renderer = Renderer(find_helm(), find_charts(), settings.version, images=settings.images)
    operator = Operator(settings, renderer)
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, operator.stop.set)
    gc.freeze()
    return await operator.run()


def main() -> None:
    """Exit status 0 after a stop, 1 after a lost Lease, when it is cut off or when it cannot start."""
    settings = Settings()
    configure("shop-operator", settings.log_level)
    try:
        sys.exit(uvloop.run(serve(settings)))
    except (LoginError, HelmNotFound) as error:
        sys.exit(f"shop-operator: {error}")


if __name__ == "__main__":
    main()
