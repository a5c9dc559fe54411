"""Fixtures of the audit's tests."""

from collections.abc import AsyncIterator

import nats
import pytest

from k8s.operator.tests.audit_arcade import cache_boards
from k8s.operator.tests.audit_sound import Sound, sound_shop
from shop.devkit import embedded
from shop.devkit.testing import Databases, without_streams


@pytest.fixture(scope="module")
async def kept_sound(
    databases: Databases, postgres: embedded.Server, nats_server: embedded.Server, valkey_server: embedded.Server
) -> AsyncIterator[Sound]:
    """The sound shop itself: a test that changes its databases puts them right again."""
    client = await nats.connect(await without_streams(nats_server))
    for noun in ("order", "player", "achievement"):
        await client.jetstream().add_stream(name=noun, subjects=[f"{noun}.>"])
    await client.close()
    async with sound_shop(databases, postgres, nats_server.url, valkey_server.url) as made:
        yield made


@pytest.fixture
async def sound(kept_sound: Sound) -> AsyncIterator[Sound]:
    """The sound shop; changes of its databases are undone, and its boards are in the cache."""
    async with kept_sound.undone():
        await cache_boards(kept_sound.records)
        yield kept_sound
