"""Asks instances that refused connections whether they are ready again, so that no customer has to wait for a trial.

An instance that answers too late is not asked: that it is ready says nothing about how long requests take.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

import aiohttp

from shop.gateway.connections import BROKEN
from shop.gateway.upstreams import Instance, Upstream
from shop.kit.http.breaker import State
from shop.kit.http.client import READY_PATH

INTERVAL_S = 0.1
PROBE_TIMEOUT_S = 1.0


class Probing:
    def __init__(self, session: aiohttp.ClientSession, upstreams: Iterable[Upstream]) -> None:
        self._session = session
        self._instances = [instance for upstream in upstreams for instance in upstream.instances]

    async def run(self) -> None:
        """For as long as the gateway runs; without open breakers it asks nobody."""
        while True:
            await asyncio.sleep(INTERVAL_S)
            gone = [one for one in self._instances if one.refused and one.breaker.state is State.OPEN]
            await asyncio.gather(*map(self._probe, gone))

    async def _probe(self, instance: Instance) -> None:
        """One that is ready gets the next request as its trial, which closes the breaker or opens it again."""
        try:
            async with asyncio.timeout(PROBE_TIMEOUT_S), self._session.get(instance.base_url + READY_PATH) as answer:
                ready = answer.status == 200
        except BROKEN:
            return
        if ready:
            instance.breaker.try_again()
