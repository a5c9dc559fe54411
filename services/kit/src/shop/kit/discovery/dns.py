"""Instances by DNS: every address of a name is an instance, as with a headless Service of Kubernetes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence

from yarl import URL

from shop.kit.balancing.instance import About
from shop.kit.discovery.interface import Changed, Unregistered
from shop.kit.tasks import Tasks

log = logging.getLogger(__name__)

RESOLVE_EVERY_S = 5.0
RESOLVE_TIMEOUT_S = 2.0

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]


async def resolve(host: str, port: int) -> Sequence[str]:
    """The IP addresses of ``host``; OSError when there are none."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return sorted({str(address[0]) for *_, address in found})


class DnsDiscovery(Unregistered):
    """Resolves the names of the services' URLs every few seconds. Those that are found last stay when it fails."""

    def __init__(self, lookup: Resolve = resolve, every_s: float = RESOLVE_EVERY_S) -> None:
        self._resolve = lookup
        self._every_s = every_s
        self._followed: list[tuple[Sequence[str], Changed]] = []

    def start(self, tasks: Tasks) -> None:
        tasks.start("discovery", self.run)

    def follow(self, service: str, urls: Sequence[str], changed: Changed) -> None:
        self._followed.append((urls, changed))

    async def run(self) -> None:
        """Look the names up until cancelled."""
        while True:
            await asyncio.gather(*(self.look_up(urls, changed) for urls, changed in tuple(self._followed)))
            await asyncio.sleep(self._every_s)

    async def look_up(self, urls: Sequence[str], changed: Changed) -> None:
        """Report the present addresses of ``urls``, all or none."""
        with contextlib.suppress(OSError, TimeoutError):
            async with asyncio.timeout(RESOLVE_TIMEOUT_S):
                resolved = [await self._addresses(URL(url)) for url in urls]
            found = {url: about for addresses in resolved for url, about in addresses.items()}
            if found:
                changed(found)

    async def _addresses(self, url: URL) -> Mapping[str, About]:
        addresses = await self._resolve(url.host or "", url.port or 80)
        return {str(url.with_host(address)).rstrip("/"): About(id=address) for address in addresses}
