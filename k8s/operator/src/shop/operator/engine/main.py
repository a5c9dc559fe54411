"""The operator's process: serve probes, become leader, run the controller until stopped or no longer leader.

    python -m shop.operator.engine.main

kopf runs the process: signals, login, start-up and clean-up. The controller watches (docs/adr/0027).
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import sys
from typing import Any, cast

import kopf
import uvloop

from shop.kit.logging import configure, ignore_signals, obey_signals
from shop.operator.engine.controller import Controller
from shop.operator.engine.leader import Lease
from shop.operator.engine.metrics import LEADER, count_request
from shop.operator.engine.probe_server import probe_server
from shop.operator.engine.render.renderer import HelmNotFound, Renderer, find_charts, find_helm
from shop.operator.engine.render.values import Images
from shop.operator.engine.settings import Settings
from shop.operator.kube.client import Kube
from shop.operator.kube.login import LoginError
from shop.operator.kube.objects import MANAGER

DISCOVERY_BACKOFFS_S = (0.2, 0.5, 1.0, 2.0, 5.0, 5.0, 10.0, 10.0, 10.0, 15.0, 15.0)
"""Between kopf's attempts to reach the API server when it starts; then the process ends and is started again."""


class Operator:
    """One process, run by kopf until a signal, the loss of the Lease or the end of the controller."""

    def __init__(self, settings: Settings, renderer: Renderer, kube: Kube) -> None:
        self.exit_status = 0
        self._lease = Lease(kube, settings.namespace or kube.namespace, settings.lease, settings.identity)
        self._controller = Controller(kube, renderer, settings)
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
    images = Images(settings.image_registry, settings.image_pull_policy, settings.image_pull_secrets)
    renderer = Renderer(find_helm(), find_charts(), settings.version, images=images)
    obey_signals(asyncio.get_running_loop())
    async with Kube() as kube:
        kube.observer = count_request
        operator = Operator(settings, renderer, kube)
        gc.freeze()
        async with probe_server(settings.port, live=operator.liveness_error, ready=operator.readiness_error):
            await operator.run()
        return operator.exit_status


def main() -> None:
    ignore_signals()
    settings = Settings()
    configure("shop-operator", settings.log_level)
    try:
        sys.exit(uvloop.run(serve(settings)))
    except (LoginError, HelmNotFound) as error:
        sys.exit(f"shop-operator: {error}")


if __name__ == "__main__":
    main()
