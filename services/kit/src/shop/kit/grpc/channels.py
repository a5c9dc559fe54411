"""One channel for each instance, and what generated stubs take for a channel: its calls go where the client chooses."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

import grpc
from yarl import URL

from shop.kit.balancing.instance import About

MAX_RECEIVE_BYTES = 4 << 20
KEEPALIVE_S = 30
KEEPALIVE_TIMEOUT_S = 10
FIRST_RECONNECT_S = 0.1
MAX_RECONNECT_S = 2.0
NEVER_MS = 2**31 - 1
MIN_RESOLUTION_INTERVAL_S = 1.0
"""A name is resolved again when a connection ends, at most this often; servers end connections after some seconds
(``grpc_max_connection_age_s``), which is how a client finds new instances behind a name."""
SCHEME: Final = "grpc"
"""Of the URLs by which discovery is asked for gRPC servers."""
DNS: Final = "dns:///"
CONFIG: Final = json.dumps({"loadBalancingConfig": [{"round_robin": {}}]})
"""A channel with this policy connects again at once when its connection ends, and to every address of a name."""
OPTIONS: Final = (
    ("grpc.service_config", CONFIG),
    ("grpc.max_receive_message_length", MAX_RECEIVE_BYTES),
    ("grpc.keepalive_time_ms", int(KEEPALIVE_S * 1_000)),
    ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_S * 1_000),
    ("grpc.initial_reconnect_backoff_ms", int(FIRST_RECONNECT_S * 1_000)),
    ("grpc.min_reconnect_backoff_ms", int(FIRST_RECONNECT_S * 1_000)),
    ("grpc.max_reconnect_backoff_ms", int(MAX_RECONNECT_S * 1_000)),
    ("grpc.dns_min_time_between_resolutions_ms", int(MIN_RESOLUTION_INTERVAL_S * 1_000)),
    # A proxy of the environment leads out of the shop.
    ("grpc.enable_http_proxy", 0),
    # Connections are this client's own, and end with it.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.client_idle_timeout_ms", NEVER_MS),
)

Kind = Literal["unary_unary", "unary_stream", "stream_unary", "stream_stream"]


def addresses_of(text: str) -> list[str]:
    """The addresses of a setting, which are separated by commas: host and port, or dns:///name:port."""
    found = [one.strip() for one in text.split(",") if one.strip()]
    if not found:
        raise ValueError("no gRPC address is set")
    return found


def urls_of(text: str) -> list[str]:
    """The same as URLs, for discovery."""
    found = [one.strip() for one in text.split(",")]
    return [f"{SCHEME}://{one.removeprefix(DNS)}" for one in found if one]


def servers_of(found: Mapping[str, About]) -> dict[str, About]:
    """The gRPC servers, by host and port, of the instances that discovery has found; not every one has to have one."""
    named = {one.grpc or _authority(url): one for url, one in found.items()}
    return {address: one for address, one in named.items() if address}


def _authority(url: str) -> str:
    address = URL(url)
    return address.authority if address.scheme == SCHEME else ""


def target_of(address: str) -> str:
    """What a channel takes. An IP address is said to be one, so that nobody resolves it."""
    try:
        version = ipaddress.ip_address(address.rpartition(":")[0].strip("[]")).version
    except ValueError:
        return address
    return f"ipv{version}:{address}"


class Connection:
    """The channel to one instance, or to all behind a name. It connects at once, and again when a connection ends."""

    def __init__(self, address: str) -> None:
        self.channel = grpc.aio.insecure_channel(target_of(address), OPTIONS)
        self.channel.get_state(try_to_connect=True)
        self._callables: dict[str, Any] = {}

    @property
    def ready(self) -> bool:
        return self.channel.get_state() is grpc.ChannelConnectivity.READY

    @property
    def failed(self) -> bool:
        """Whether it could not connect, or not again, and waits before it tries."""
        return self.channel.get_state() is grpc.ChannelConnectivity.TRANSIENT_FAILURE

    def callable_of(self, method: Method) -> Any:
        """Kept, because making it takes longer than a call."""
        if method.path not in self._callables:
            self._callables[method.path] = getattr(self.channel, method.kind)(method.path, **method.codec)
        return self._callables[method.path]


class Method:
    """One method of a stub. Called directly, it is one call of gRPC's, to an instance of the client's choice."""

    def __init__(self, choose: Callable[[], Connection], kind: Kind, path: str, codec: Mapping[str, Any]) -> None:
        self.kind = kind
        self.path = path
        self.codec = codec
        self._choose = choose

    def __call__(self, *request: Any, **options: Any) -> Any:
        return self._choose().callable_of(self)(*request, **options)


class BalancedChannel:
    """What generated stubs are made with; ``choose()`` is asked at each call. They stay good when instances change."""

    def __init__(self, choose: Callable[[], Connection]) -> None:
        self._choose = choose

    def unary_unary(self, path: str, *codec: Any, **named: Any) -> Method:
        return self._method("unary_unary", path, *codec, **named)

    def unary_stream(self, path: str, *codec: Any, **named: Any) -> Method:
        return self._method("unary_stream", path, *codec, **named)

    def stream_unary(self, path: str, *codec: Any, **named: Any) -> Method:
        return self._method("stream_unary", path, *codec, **named)

    def stream_stream(self, path: str, *codec: Any, **named: Any) -> Method:
        return self._method("stream_stream", path, *codec, **named)

    def _method(
        self, kind: Kind, path: str, request_serializer: Any = None, response_deserializer: Any = None, **_named: Any
    ) -> Method:
        codec = {"request_serializer": request_serializer, "response_deserializer": response_deserializer}
        return Method(self._choose, kind, path, codec)
