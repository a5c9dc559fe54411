"""Requests made up from the service's own OpenAPI document are answered as it says, and never with a 5xx."""

from __future__ import annotations

import asyncio

from services.player.tests.conftest import Start
from shop.kit.ids import new_id
from tests.contracts import fuzz


async def test_made_up_requests_are_answered_as_the_document_says(start: Start) -> None:
    async with start(on_port=True) as service:
        who = await service.player()
        session = await service.open(who)
        known = {
            "player_id": str(who.id), "friend_id": str((await service.player()).id), "server_id": str(new_id()),
            "game": "stack", "session_id": session["id"], "token": session["token"], "board": "quiz",
            "code": "champion", "time_zone": "Europe/London", "cause": "achievement:x",
        }  # fmt: skip
        base_url, admin = str(service.client.base_url), service.tokens.headers("admin")

        def found() -> list[str]:
            document = fuzz.document(base_url)
            assert document is not None
            return fuzz.failures(document, base_url, lambda _: admin, known, max_examples=4)

        assert await asyncio.to_thread(found) == []
        assert await service.database.fetchval("SELECT bool_and(xp >= 0) FROM players")
