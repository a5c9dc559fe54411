"""Requests to the routes of services that are for services alone, with the internal token."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import aiohttp

from shop.ops.instances import Directory, Known

TIMEOUT_S = 10.0
MAX_TRIES = 3
"""Instances that are asked for what any of them knows."""
FIRST_REFUSAL = 300


class Internal:
    """What instances of a service answer: JSON, {} for an answer without a body, None for a refusal or no answer."""

    def __init__(self, directory: Directory, token: str) -> None:
        self._directory = directory
        self._token = token

    async def any(self, method: str, noun: str, path: str) -> Any:
        """The answer of the first instance that gives one."""
        for one in (await self._directory.of(noun))[:MAX_TRIES]:
            answer = await self._ask(method, one, path, None)
            if answer is not None:
                return answer
        return None

    async def each(self, method: str, noun: str, path: str, body: Mapping[str, Any] | None = None) -> list[Any]:
        """The answers of all instances."""
        instances = await self._directory.of(noun)
        return await asyncio.gather(*(self._ask(method, one, path, body) for one in instances))

    async def _ask(self, method: str, instance: Known, path: str, body: Mapping[str, Any] | None) -> Any:
        headers = {"Authorization": f"Bearer {self._token}"}
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_S), headers=headers) as session:
            try:
                async with session.request(method, instance.address + path, json=body) as answer:
                    if answer.status >= FIRST_REFUSAL:
                        return None
                    return await answer.json() if answer.content_type == "application/json" else {}
            except (aiohttp.ClientError, TimeoutError, ValueError):
                return None
