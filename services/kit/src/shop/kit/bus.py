"""The connection to NATS JetStream: one stream per publishing noun, reconnecting for as long as the process lives."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence

import nats
import orjson
from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription
from nats.errors import Error as NatsError
from nats.js import JetStreamContext
from nats.js.api import (
    AckPolicy,
    ConsumerConfig,
    DeliverPolicy,
    PubAck,
    RetentionPolicy,
    StorageType,
    StreamConfig,
    StreamInfo,
)
from nats.js.errors import APIError, BadRequestError, NotFoundError
from prometheus_client import Gauge

from shop.kit.backoff import backoff_s
from shop.kit.errors import Unavailable
from shop.kit.tasks import Tasks

log = logging.getLogger(__name__)

RECONNECT_WAIT_S = 0.5
CONNECTED_POLL_S = 0.02
CONNECTION_WAIT_S = 1.0
CONNECT_TIMEOUT_S = 2
REQUEST_TIMEOUT_S = 3.0
PING_INTERVAL_S = 5
DUPLICATE_WINDOW_S = 120.0
MAX_AGE_S = 7 * 24 * 3600.0
STREAM_BYTES = 256 << 20
"""Default limit of a stream, beyond which its oldest events are deleted; set by the size of the volume."""
MIN_STREAM_BYTES = 16 << 20
STORAGE_EXCEEDED = 10047
"""JetStream's error code for a stream that does not fit into the server's storage limit."""
REQUEST_EVENTS = "$JS.API.CONSUMER.MSG.NEXT"
"""The subject, before stream and consumer, by which JetStream is asked for messages."""
ACK_WAIT_S = 30.0
MAX_ACK_PENDING = 2_048
CLOSE_TIMEOUT_S = 2.0
MAX_PENDING_BROADCASTS = 256
BROADCASTS = "live."
"""What the subjects of broadcasts begin with: no service has this noun."""
BROKER_ERRORS = (NatsError, OSError, TimeoutError)
"""What a call raises while the broker stops, starts, has lost a stream or cannot be reached."""


@functools.cache
def _connected() -> Gauge:
    """Only services that use the broker have it."""
    return Gauge("shop_broker_connected", "1 while there is a connection to the broker")


@contextlib.contextmanager
def errors_as_unavailable() -> Iterator[None]:
    """Unavailable("broker") for every one of BROKER_ERRORS."""
    try:
        yield
    except BROKER_ERRORS as error:
        raise Unavailable("broker", f"the broker cannot be used: {error!r}") from error


class Bus:
    """One process's connection. While there is none ``connected`` is false and every call is Unavailable.

    ``problems`` has a sentence for each stream that the broker refuses at present.
    """

    def __init__(self, url: str, name: str, stream_bytes: int = STREAM_BYTES) -> None:
        self._url = url
        self._name = name
        self._stream_bytes = stream_bytes
        self.problems: dict[str, str] = {}
        self._client = Client()
        self._context: JetStreamContext | None = None
        self._listeners: list[Callable[[], None]] = []
        self._is_connected = asyncio.Event()
        self.reconnected = asyncio.Event()
        self.connections = 0
        """How often a connection was made: what the broker remembers of an earlier one is gone."""

    @property
    def connected(self) -> bool:
        # The client says so before it calls what notes a new connection.
        return self._context is not None and self._client.is_connected and self._is_connected.is_set()

    def state(self) -> str:
        """ "ok", or what is wrong, for the health check."""
        if not self.connected:
            return "not connected"
        return "; ".join(self.problems.values()) or "ok"

    @property
    def stream(self) -> JetStreamContext:
        """The JetStream context; Unavailable("broker") while there is no connection."""
        if self._context is None or not self.connected:
            raise Unavailable("broker")
        return self._context

    def _live(self) -> Client:
        """The client; Unavailable("broker") while it has no connection."""
        if not self.connected:
            raise Unavailable("broker")
        return self._client

    def on_change(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Call ``changed`` whenever a connection is made or lost; returns what ends that."""
        self._listeners.append(changed)
        return lambda: self._listeners.remove(changed)

    def _changed(self) -> None:
        for changed in self._listeners:
            changed()

    def start(self, tasks: Tasks) -> None:
        """Connect in the background, so that a service starts and serves without its broker."""
        _connected().set_function(lambda: self.connected)
        self.connect(tasks)

    def connect(self, tasks: Tasks) -> None:
        """The same without a metric, for what only the registry is used for."""
        tasks.start("bus", self._connect)

    async def _connect(self) -> None:
        attempt = 0
        while True:
            try:
                self._client = await nats.connect(
                    self._url.split(","),
                    name=self._name,
                    connect_timeout=CONNECT_TIMEOUT_S,
                    reconnect_time_wait=RECONNECT_WAIT_S,
                    max_reconnect_attempts=-1,
                    ping_interval=PING_INTERVAL_S,
                    max_outstanding_pings=2,
                    error_cb=self._on_error,
                    disconnected_cb=self._on_disconnected,
                    reconnected_cb=self._on_connected,
                )
                self._context = self._client.jetstream(timeout=REQUEST_TIMEOUT_S)
                await self._on_connected()
                return
            except (OSError, NatsError, TimeoutError) as error:
                log.info("broker not reachable: %s", error, extra={"event": "broker_unreachable", "attempt": attempt})
                await asyncio.sleep(backoff_s(attempt, max_s=5.0))
                attempt += 1

    async def _on_error(self, error: Exception) -> None:
        log.warning("broker: %r", error, extra={"event": "broker_error"})

    async def _on_connected(self) -> None:
        self._is_connected.set()
        self.connections += 1
        self.reconnected.set()
        self._changed()

    async def _on_disconnected(self) -> None:
        self._is_connected.clear()
        self._changed()

    async def wait_connected(self, limit_s: float) -> None:
        """Until there is a connection, for at most ``limit_s``."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(limit_s):
                while not self.connected:
                    await self._is_connected.wait()
                    # A connection that is being lost is reported after the client knows of it.
                    await asyncio.sleep(CONNECTED_POLL_S)

    async def ensure_stream(self, noun: str) -> None:
        """Create the stream of ``noun``'s events or adjust its size; safe from several services at once.

        Unavailable("broker") when the broker refuses it, for which the volume must grow or the streams must shrink.
        """
        with errors_as_unavailable():
            try:
                info = await self._find_or_create(noun)
            except APIError as error:
                problem = f"the broker refuses the stream {noun} of {self._stream_bytes} bytes: {error.description}"
                if error.err_code == STORAGE_EXCEEDED:
                    problem += "; its volume is too small for all streams"
                self.problems[noun] = problem
                raise Unavailable("broker", problem) from error
            self.problems.pop(noun, None)
            await self._resize(info)

    async def _find_or_create(self, noun: str) -> StreamInfo:
        config = StreamConfig(
            name=noun,
            subjects=[f"{noun}.>"],
            retention=RetentionPolicy.LIMITS,
            storage=StorageType.FILE,
            duplicate_window=DUPLICATE_WINDOW_S,
            max_age=MAX_AGE_S,
            max_bytes=self._stream_bytes,
        )
        try:
            return await self.stream.stream_info(noun)
        except NotFoundError:
            pass
        try:
            return await self.stream.add_stream(config)
        except BadRequestError:
            return await self.stream.stream_info(noun)

    async def _resize(self, info: StreamInfo) -> None:
        """Never below the present size: the broker would delete the oldest events, read or not."""
        wanted = max(self._stream_bytes, info.state.bytes + info.state.bytes // 8)
        present = info.config.max_bytes
        if present == wanted or (self._stream_bytes < wanted and 0 < (present or 0) <= wanted):
            return
        try:
            await self.stream.update_stream(info.config, max_bytes=wanted)
        except APIError as error:
            log.warning(
                "stream %s keeps its size of %s bytes: %s",
                info.config.name,
                present,
                error.description,
                extra={"event": "stream_not_resized"},
            )
        else:
            log.info(
                "stream %s may hold %s bytes, before %s",
                info.config.name,
                wanted,
                present,
                extra={"event": "stream_resized"},
            )

    async def last_sequence(self, noun: str) -> int:
        """The sequence number of the newest message of ``noun``'s stream; 0 when it is empty."""
        with errors_as_unavailable():
            info = await self.stream.stream_info(noun)
        return int(info.state.last_seq)

    async def publish(
        self, subject: str, payload: bytes, message_id: str, headers: Mapping[str, str] | None = None
    ) -> asyncio.Future[PubAck]:
        """Send and return the future acknowledgement; messages of one connection keep their order."""
        with errors_as_unavailable():
            sent = {"Nats-Msg-Id": message_id, **(headers or {})}
            return await self.stream.publish_async(subject, payload, headers=sent)

    async def broadcast(self, subject: str, payload: bytes) -> None:
        """Send to the processes that listen now. Nothing is stored; without a connection nothing is sent.

        ValueError for a subject that does not begin with `BROADCASTS`: the stream of a service stores all that begins
        with the service's noun.
        """
        if not subject.startswith(BROADCASTS):
            raise ValueError(f"{subject} may be stored in a stream")
        if self.connected:
            with contextlib.suppress(*BROKER_ERRORS):
                await self._client.publish(subject, payload)

    async def listen(self, subject: str) -> AsyncIterator[bytes]:
        """What is broadcast from now on, as `messages`."""
        async for message in self.messages(subject):
            yield message.data

    async def messages(self, subject: str, subscribed: asyncio.Event | None = None) -> AsyncIterator[Msg]:
        """What is sent from now on; a reader that is slow misses what exceeds MAX_PENDING_BROADCASTS.

        Nothing of it is acknowledged, whether a stream keeps the subject or not. ``subscribed`` is set once nothing
        that is sent is missed any more: what is read of a stream after that, and what is received, leave no gap.
        """
        subscription = await self.subscribe(subject)
        if subscribed is not None:
            subscribed.set()
        with errors_as_unavailable():
            try:
                async for message in subscription.messages:
                    yield message
            finally:
                with contextlib.suppress(*BROKER_ERRORS):
                    await subscription.unsubscribe()

    async def subscribe(self, subject: str, arrived: Callable[[Msg], Awaitable[None]] | None = None) -> Subscription:
        """Call ``arrived`` with what is sent from when this returns, as `messages`, with less work for each message."""
        while not self.connected:
            await self.wait_connected(CONNECTION_WAIT_S)
        with errors_as_unavailable():
            return await self._client.subscribe(subject, cb=arrived, pending_msgs_limit=MAX_PENDING_BROADCASTS)

    async def ensure_consumer(self, noun: str, durable: str, subjects: Sequence[str]) -> None:
        """A durable pull consumer of ``noun``'s stream, created on first use."""
        await self.ensure_stream(noun)
        config = ConsumerConfig(
            durable_name=durable,
            filter_subjects=list(subjects),
            ack_policy=AckPolicy.EXPLICIT,
            ack_wait=ACK_WAIT_S,
            max_deliver=-1,
            max_ack_pending=MAX_ACK_PENDING,
            deliver_policy=DeliverPolicy.ALL,
        )
        with contextlib.suppress(BadRequestError):
            await self.stream.add_consumer(noun, config)

    async def receive(self, arrived: Callable[[Msg], Awaitable[None]]) -> Subscription:
        """Call ``arrived`` with what is sent to a subject of its own, the ``subject`` of what is returned."""
        client = self._live()
        with errors_as_unavailable():
            return await client.subscribe(client.new_inbox(), cb=arrived)

    async def ask(self, noun: str, durable: str, inbox: str, *, events: int, for_s: float) -> None:
        """Have the broker send up to ``events`` of the consumer to ``inbox`` as they come, for ``for_s`` seconds."""
        request = orjson.dumps({"batch": events, "expires": int(for_s * 1e9)})
        with errors_as_unavailable():
            await self._live().publish(f"{REQUEST_EVENTS}.{noun}.{durable}", request, reply=inbox)

    async def unfinished(self, noun: str, durable: str) -> int | None:
        """Events that the consumer has not acknowledged; None when the broker does not know the consumer, which it
        forgets when it loses its disk."""
        try:
            info = await self.stream.consumer_info(noun, durable)
        except NotFoundError:
            return None
        return (info.num_pending or 0) + (info.num_ack_pending or 0)

    async def stream_bytes(self, noun: str) -> tuple[int, int]:
        """Size and limit of ``noun``'s stream."""
        with errors_as_unavailable():
            info = await self.stream.stream_info(noun)
        return info.state.bytes, info.config.max_bytes or 0

    async def close(self) -> None:
        if self._context is None:
            return
        with contextlib.suppress(NatsError, OSError, TimeoutError):
            await asyncio.wait_for(self._client.close(), CLOSE_TIMEOUT_S)
