"""kopf, for what it is good at: following the Shops through every way in which a watch can end.

It feeds the engine and decides nothing. Its handlers would be called once per change, per object, without a bound on
how many at once; the engine's queue is by level instead, and bounded.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any

import kopf
from kopf._core.engines.peering import Identity

from shop.operator.engine.kube.kinds import SHOP
from shop.operator.engine.kube.objects import MANAGER, Object

WATCH_S = 290
SILENCE_S = 70.0
"""A watch from which nothing came for so long is dead: the server sends a bookmark every minute."""
CONNECT_TIMEOUT_S = 5.0
PAGE = 100
WORKERS = 8
IDLE_S = 0.01
"""How long one of kopf's workers waits for more of the same Shop, while all others wait for it, whole in memory.

Not 0: kopf would wait for ever.
"""
BACKOFFS_S = (0.2, 0.5, 1.0, 2.0, 5.0, 5.0, 10.0, 10.0, 10.0, 15.0, 15.0)
"""Between tries to reach the API server: about a minute and a quarter, then the process ends and begins anew."""
END_TIMEOUT_S = 10.0
type Seen = Callable[[str | None, Object], None]
"""Called with an event's type (None for what was there at the start) and the Shop."""


async def follow(seen: Seen, namespaces: Sequence[str], stop: asyncio.Event) -> None:
    """Call `seen` for every change of a Shop until `stop` is set; no namespaces are all.

    kopf gets a thread and a loop of its own: it takes a loop's signals for its own, and when it ends it cancels every
    task of the loop that was begun after it.
    """
    loop, over = asyncio.get_running_loop(), threading.Event()

    def hand_over(what: str | None, shop: Object) -> None:
        loop.call_soon_threadsafe(seen, what, shop)

    running = asyncio.create_task(asyncio.to_thread(asyncio.run, _follow(hand_over, tuple(namespaces), over)))
    stopped = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait((running, stopped), return_when=asyncio.FIRST_COMPLETED)
        if not stop.is_set():
            await running
            raise RuntimeError("the watch of Shops has ended by itself")
    finally:
        over.set()
        stopped.cancel()
        await asyncio.wait((running,), timeout=END_TIMEOUT_S)


async def _follow(seen: Seen, namespaces: Sequence[str], over: threading.Event) -> None:
    registry = kopf.OperatorRegistry()
    _login(registry)

    @kopf.on.event(SHOP.group, SHOP.api_version.partition("/")[2], SHOP.plural, registry=registry)
    async def event(event: Any, **_: Any) -> None:
        seen(event["type"], event["object"])

    quiet()
    await kopf.operator(
        registry=registry,
        settings=_settings(),
        standalone=True,
        # Else kopf asks the system for the user's name, which a container's user has none of.
        identity=Identity(MANAGER),
        clusterwide=not namespaces,
        namespaces=namespaces,
        stop_flag=over,
    )


def _login(registry: Any) -> None:
    @kopf.on.login(registry=registry)
    def in_cluster(**kwargs: Any) -> Any:
        return kopf.login_with_service_account(**kwargs) or kopf.login_with_kubeconfig(**kwargs)


def _settings() -> Any:
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.scanning.disabled = True
    settings.watching.server_timeout = WATCH_S
    settings.watching.client_timeout = WATCH_S + SILENCE_S
    settings.watching.connect_timeout = CONNECT_TIMEOUT_S
    settings.watching.inactivity_timeout = SILENCE_S
    settings.watching.chunk_size = PAGE
    settings.queueing.worker_limit = WORKERS
    settings.queueing.idle_timeout = IDLE_S
    settings.networking.error_backoffs = BACKOFFS_S
    return settings


def quiet() -> None:
    """kopf tells of every event that it hands over; what fails is enough."""
    logging.getLogger("kopf").setLevel(logging.WARNING)
