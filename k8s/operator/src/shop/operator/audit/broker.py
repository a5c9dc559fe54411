"""Which events a stream holds, most of them read from the headers of its messages alone."""

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import nats
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import Error as NatsError
from nats.js.api import ConsumerConfig, DeliverPolicy
from nats.js.errors import NotFoundError

from shop.operator.errors import reason_of

CONNECT_TIMEOUT_S = 3
MESSAGE_TIMEOUT_S = 5.0
# Of a longer stream only the newest events are read: older ones cannot be affected by a recent fault.
MAX_MESSAGES = 200_000
# The same where whole messages are read.
MAX_EVENTS = 50_000


class BrokerError(RuntimeError):
    """The stream could not be read; the message says why."""


@dataclass(frozen=True)
class Stream:
    """Message ids by sequence number, from `first` to the end."""

    first: int
    by_sequence: dict[int, str]

    @property
    def ids(self) -> set[str]:
        return set(self.by_sequence.values())


@dataclass(frozen=True)
class Event:
    """``time`` is when the broker stored it."""

    type: str
    time: datetime
    data: dict[str, Any]


async def message_ids(url: str, noun: str) -> Stream:
    """The event ids in the stream of `noun`; raises `BrokerError`."""
    async with _connected(url) as client:
        first, found = await _read(client, noun)
    return Stream(first, found)


async def events(url: str, noun: str, types: Sequence[str]) -> list[Event]:
    """The newest events of these types with their data, none if there is no stream yet; raises `BrokerError`."""
    async with _connected(url) as client:
        try:
            state = (await client.jetstream().stream_info(noun)).state
        except NotFoundError:
            return []
        first = max(state.first_seq, state.last_seq - MAX_EVENTS + 1, 1)
        messages = _messages(client, noun, first, state.last_seq, headers_only=False)
        return [_event(message) async for message in messages if message.subject in types]


def _event(message: Msg) -> Event:
    document = json.loads(message.data)
    return Event(message.subject, message.metadata.timestamp, document["data"])


@asynccontextmanager
async def _connected(url: str) -> AsyncIterator[Client]:
    """A client; failures while it is used are raised as `BrokerError`."""
    try:
        connecting = nats.connect(
            url,
            connect_timeout=CONNECT_TIMEOUT_S,
            # With 0 attempts the client retries forever.
            max_reconnect_attempts=1,
            reconnect_time_wait=0,
            error_cb=_ignore,
        )
        client = await asyncio.wait_for(connecting, CONNECT_TIMEOUT_S)
    except (OSError, TimeoutError, NatsError) as error:
        raise BrokerError(f"the broker is not reachable: {reason_of(error)}") from error
    try:
        yield client
    except NotFoundError as error:
        raise BrokerError("the broker has no such stream") from error
    except (OSError, TimeoutError, NatsError) as error:
        raise BrokerError(f"the stream could not be read: {reason_of(error)}") from error
    finally:
        await client.close()


async def _ignore(error: Exception) -> None:
    """What matters is raised where it happens."""


async def _read(client: Client, noun: str) -> tuple[int, dict[int, str]]:
    state = (await client.jetstream().stream_info(noun)).state
    first = max(state.first_seq, state.last_seq - MAX_MESSAGES + 1)
    found: dict[int, str] = {}
    if state.messages == 0:
        return state.last_seq + 1, found
    async for message in _messages(client, noun, first, state.last_seq, headers_only=True):
        found[message.metadata.sequence.stream] = (message.headers or {}).get("Nats-Msg-Id", "")
    return first, found


async def _messages(client: Client, noun: str, first: int, last: int, *, headers_only: bool) -> AsyncIterator[Msg]:
    """The messages from sequence number `first` to `last`, none if the stream is empty."""
    context = client.jetstream()
    if (await context.stream_info(noun)).state.messages == 0:
        return
    config = ConsumerConfig(
        headers_only=headers_only,
        deliver_policy=DeliverPolicy.BY_START_SEQUENCE,
        opt_start_seq=first,
        mem_storage=True,
    )
    subscription = await context.subscribe(f"{noun}.>", stream=noun, config=config, ordered_consumer=True)
    sequence = 0
    while sequence < last:
        message = await subscription.next_msg(timeout=MESSAGE_TIMEOUT_S)
        sequence = message.metadata.sequence.stream
        yield message
    await subscription.unsubscribe()
