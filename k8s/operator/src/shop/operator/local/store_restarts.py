"""Restart a store that stopped writing when its disk was full, once there is space again."""

import asyncio
import shutil
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from shop.operator.local.component import Component, State
from shop.operator.local.supervisor import Supervisor

CHECK_EVERY_S = 5.0
MIN_FREE_BYTES = 8 << 20
"""With less, the restarted store would fail again."""
MAX_RESTARTS = 3
RESTARTS_WINDOW_S = 600.0
"""MAX_RESTARTS within so many seconds; a store on a disk that fails for another reason is not restarted forever."""


def free_bytes(folder: Path) -> int:
    return shutil.disk_usage(folder).free


class StoreRestarter:
    """Checks the components of one supervisor."""

    def __init__(
        self,
        supervisor: Supervisor,
        free: Callable[[Path], int] = free_bytes,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._supervisor = supervisor
        self._free = free
        self._clock = clock
        self._restarts: dict[str, deque[float]] = {}

    async def run(self) -> None:
        while True:
            for component in self._supervisor.components:
                await self.check(component)
            await asyncio.sleep(CHECK_EVERY_S)

    async def check(self, component: Component) -> None:
        """Record what is wrong with the component, and restart it if that can help."""
        if component.trouble is None or component.state is not State.READY:
            return
        component.detail = await asyncio.to_thread(component.trouble)
        if component.detail and self._free(component.log.parent) >= MIN_FREE_BYTES and self._may_restart(component):
            await self._supervisor.restart(component, component.detail)

    def _may_restart(self, component: Component) -> bool:
        recent = self._restarts.setdefault(component.name, deque())
        while recent and recent[0] <= self._clock() - RESTARTS_WINDOW_S:
            recent.popleft()
        if len(recent) >= MAX_RESTARTS:
            return False
        recent.append(self._clock())
        return True
