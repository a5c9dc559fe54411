"""What every way to find instances has in common."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

from shop.kit.balancing.instance import About
from shop.kit.tasks import Tasks

Changed = Callable[[Mapping[str, About]], None]
"""Called with the instances by their base URLs; never with none."""


class Discovery(Protocol):
    def start(self, tasks: Tasks) -> None:
        """Look for instances as long as the application runs."""

    async def known(self) -> None:
        """Wait, within a limit, until what there is to find was read once: a process that serves before would use
        the addresses of its settings, at which nothing may run any more."""

    def announce(self, tasks: Tasks, ready: Callable[[], Awaitable[bool]]) -> None:
        """Let others find this process, from when ``ready()`` is true until it begins to stop."""

    def announced(self) -> bool:
        """Whether others can find this process, or what they would find it in is away: one that is to replace
        another is not ready before."""

    def follow(self, service: str, urls: Sequence[str], changed: Changed) -> None:
        """Call ``changed`` when the instances of ``service`` are others than before; ``urls`` are known at first."""

    async def leave(self) -> None:
        """Let nobody find this process any more."""


class Unregistered:
    """For processes that need not say where they are: their addresses are fixed, or the cluster knows them."""

    async def known(self) -> None:
        pass

    def announce(self, tasks: Tasks, ready: Callable[[], Awaitable[bool]]) -> None:
        pass

    def announced(self) -> bool:
        return True

    async def leave(self) -> None:
        pass


class Fixed(Unregistered):
    """The addresses in the settings, which stay."""

    def start(self, tasks: Tasks) -> None:
        pass

    def follow(self, service: str, urls: Sequence[str], changed: Changed) -> None:
        pass
