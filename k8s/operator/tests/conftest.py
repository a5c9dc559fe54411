"""Fixtures of the audit's tests."""

from collections.abc import AsyncIterator

import nats
import pytest

from k8s.operator.tests.audit_copies import Copies, Sound
from shop.devkit import embedded
from shop.devkit.testing import Databases


@pytest.fixture(scope="module")
async def copies(
    databases: Databases, postgres: embedded.Server, nats_server: embedded.Server
) -> AsyncIterator[tuple[Copies, Sound]]:
    client = await nats.connect(nats_server.url)
    for info in await client.jetstream().streams_info():
        await client.jetstream().delete_stream(str(info.config.name))
    for noun in ("order", "player", "achievement"):
        await client.jetstream().add_stream(name=noun, subjects=[f"{noun}.>"])
    await client.close()
    made = Copies(databases, postgres, nats_server.url)
    sound = await made.make_sound()
    yield made, sound
    await made.close()


@pytest.fixture
async def sound(copies: tuple[Copies, Sound]) -> AsyncIterator[Sound]:
    made, source = copies
    await made.refresh()
    records = made.records()
    records.product = source.records.product
    yield Sound(records, source.confirmed, source.cancelled, source.rejected, source.meal, source.gamer)
    await made.drop(records.changed)
