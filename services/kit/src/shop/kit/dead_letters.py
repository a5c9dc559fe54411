"""Events that a consumer gave up: what they are, and processing them again after the repair of what was wrong.

An error is shown by its type alone: its text may repeat what a person entered.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Depends, Request

from shop.kit.auth import internal_only
from shop.kit.db import Database, Record
from shop.kit.errors import Unavailable
from shop.kit.events import open_envelope
from shop.kit.inbox import Consumer, Inbox

log = logging.getLogger(__name__)

MAX_LISTED = 100
MAX_REPLAYED = 100
"""Of one request; a further one takes the next."""
LIST = """
SELECT consumer, event_id, type, split_part(error, ':', 1) AS error, failures, dead_at FROM dead_letter
WHERE dead_at IS NOT NULL ORDER BY dead_at LIMIT $1"""
READ = """
SELECT consumer, event_id, payload FROM dead_letter
WHERE dead_at IS NOT NULL AND payload <> '' ORDER BY dead_at LIMIT $1"""
FORGET = "DELETE FROM dead_letter WHERE consumer = $1 AND event_id = $2"


class DeadLetters:
    """Those of one service's consumers."""

    def __init__(self, database: Database, inbox: Inbox, consumers: Sequence[Consumer]) -> None:
        self._database = database
        self._inbox = inbox
        self._consumers = {consumer.name: consumer for consumer in consumers}

    async def listed(self) -> list[dict[str, Any]]:
        """The oldest MAX_LISTED."""
        return [dict(row) for row in await self._database.fetch(LIST, MAX_LISTED)]

    async def replay(self) -> dict[str, int]:
        """Process the oldest MAX_REPLAYED again; how many took effect, and how many failed and stay.

        The inbox takes each once, so an event that took effect meanwhile changes nothing.
        """
        found = {"replayed": 0, "failed": 0}
        for row in await self._database.fetch(READ, MAX_REPLAYED):
            found["replayed" if await self._replay_one(row) else "failed"] += 1
        return found

    async def _replay_one(self, row: Record) -> bool:
        consumer = self._consumers.get(row["consumer"])
        if consumer is None:
            return False
        try:
            event = open_envelope(row["payload"].encode(), {kind.TYPE: kind for kind in consumer.types})
            await self._inbox.process(consumer, [event])
        except Unavailable:
            raise
        except Exception:
            log.exception(
                "an event failed again",
                extra={"event": "replay_failed", "consumer": consumer.name, "event_id": str(row["event_id"])},
            )
            return False
        await self._database.execute(FORGET, row["consumer"], row["event_id"])
        return True


router = APIRouter(prefix="/internal/dead-letters", include_in_schema=False, dependencies=[Depends(internal_only)])
"""For the service that administrators use, with the internal token; ``app.state.dead_letters`` are the service's."""


@router.get("")
async def list_dead_letters(request: Request) -> list[dict[str, Any]]:
    letters: DeadLetters = request.app.state.dead_letters
    return await letters.listed()


@router.post("/replay")
async def replay_dead_letters(request: Request) -> dict[str, int]:
    letters: DeadLetters = request.app.state.dead_letters
    return await letters.replay()
