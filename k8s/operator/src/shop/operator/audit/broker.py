"""Which events a stream holds, read from the headers of its messages alone."""

import asyncio
from dataclasses import dataclass

import nats
from nats.aio.client import Client
from nats.errors import Error as NatsError
from nats.js.api import ConsumerConfig, DeliverPolicy
from nats.js.errors import NotFoundError

CONNECT_TIMEOUT_S = 3
MESSAGE_TIMEOUT_S = 5.0
# Of a longer stream only the newest events are read: older ones cannot be affected by a recent fault.
MAX_MESSAGES = 200_000


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


async def message_ids(url: str, noun: str) -> Stream:
    """The event ids in the stream of `noun`; raises `BrokerError`."""
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
        raise BrokerError(f"the broker is not reachable: {error or type(error).__name__}") from error
    try:
        return await _read(client, noun)
    except NotFoundError as error:
        raise BrokerError("the broker has no such stream") from error
    except (OSError, TimeoutError, NatsError) as error:
        raise BrokerError(f"the stream could not be read: {error or type(error).__name__}") from error
    finally:
        await client.close()


async def _ignore(error: Exception) -> None:
    """What matters is raised where it happens."""


async def _read(client: Client, noun: str) -> Stream:
    context = client.jetstream()
    state = (await context.stream_info(noun)).state
    first = max(state.first_seq, state.last_seq - MAX_MESSAGES + 1)
    found: dict[int, str] = {}
    if state.messages == 0:
        return Stream(state.last_seq + 1, found)
    config = ConsumerConfig(
        headers_only=True, deliver_policy=DeliverPolicy.BY_START_SEQUENCE, opt_start_seq=first, mem_storage=True
    )
    subscription = await context.subscribe(f"{noun}.>", stream=noun, config=config, ordered_consumer=True)
    sequence = 0
    while sequence < state.last_seq:
        message = await subscription.next_msg(timeout=MESSAGE_TIMEOUT_S)
        sequence = message.metadata.sequence.stream
        found[sequence] = (message.headers or {}).get("Nats-Msg-Id", "")
    await subscription.unsubscribe()
    return Stream(first, found)
