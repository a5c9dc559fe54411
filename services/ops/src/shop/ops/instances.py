"""Which instances each service has: those that discovery finds, and on this machine also those that are stopped."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from shop.kit.balancing.instance import About
from shop.kit.discovery.interface import Discovery
from shop.kit.errors import Unavailable
from shop.ops.supervisor import Supervisor


@dataclass(frozen=True, slots=True)
class Known:
    """One instance at its base URL. ``restarts`` is None where nobody counts them, as in a cluster."""

    address: str
    id: str = ""
    restarts: int | None = None


class Directory:
    """``urls``: the base URLs of each service in the settings, by which discovery begins."""

    def __init__(
        self, discovery: Discovery, urls: Mapping[str, Sequence[str]], supervisor: Supervisor | None = None
    ) -> None:
        self._supervisor = supervisor
        self._found: dict[str, Mapping[str, About]] = {
            noun: {url: About() for url in several} for noun, several in urls.items()
        }
        for noun, several in urls.items():
            discovery.follow(noun, several, functools.partial(self._changed, noun))

    def _changed(self, noun: str, found: Mapping[str, About]) -> None:
        self._found[noun] = found

    async def all(self) -> dict[str, list[Known]]:
        """The instances of each service as of now."""
        local = await self._local()
        return {noun: self._of(noun, local.get(noun, ())) for noun in self._found}

    async def of(self, noun: str) -> list[Known]:
        return (await self.all()).get(noun, [])

    def _of(self, noun: str, local: Sequence[Known]) -> list[Known]:
        here = {one.address: one for one in local}
        found = {url: Known(url, about.id) for url, about in self._found[noun].items()}
        return list((here | found | here).values())

    async def _local(self) -> dict[str, list[Known]]:
        """What the supervisor runs or has stopped; nothing while it cannot say."""
        by_noun: dict[str, list[Known]] = {}
        if self._supervisor is None:
            return by_noun
        try:
            components = await self._supervisor.components()
        except Unavailable:
            return by_noun
        for one in components:
            if one.kind == "service":
                by_noun.setdefault(one.noun, []).append(Known(one.base_url, one.name, one.restarts))
        return by_noun
