"""Who a request comes from and how many more it may send: token buckets in a bounded table."""

from __future__ import annotations

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import lru_cache

from shop.gateway.settings import Network

MAX_CLIENTS = 50_000
"""Clients remembered; the one not seen for longest goes first, and its bucket would be full again by then."""
MAX_FORWARDED_HOPS = 20
IPV6_CLIENT_PREFIX = 64
"""One household or server has a whole /64: counting its addresses one by one would be no limit."""
CACHED_ADDRESSES = 4_096


class RateLimiter:
    """A token bucket per client: ``burst`` requests at once, ``per_second`` in the long run. 0 means no limit."""

    def __init__(
        self,
        per_second: float,
        burst: int,
        max_clients: int = MAX_CLIENTS,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._per_second = per_second
        self._burst = float(burst)
        self._max_clients = max_clients
        self._now = now
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, client: str) -> float:
        """Take one token; 0.0 when there was one, else the seconds until there is one."""
        if not self._per_second:
            return 0.0
        now = self._now()
        left, since = self._buckets.get(client, (self._burst, now))
        left = min(self._burst, left + (now - since) * self._per_second)
        allowed = left >= 1.0
        self._buckets[client] = (left - 1.0 if allowed else left, now)
        self._buckets.move_to_end(client)
        if len(self._buckets) > self._max_clients:
            self._buckets.popitem(last=False)
        return 0.0 if allowed else (1.0 - left) / self._per_second

    def __len__(self) -> int:
        return len(self._buckets)


def is_trusted(address: str, trusted: Sequence[Network]) -> bool:
    if not trusted:
        return False
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    # A socket for both families shows IPv4 peers so.
    parsed = getattr(parsed, "ipv4_mapped", None) or parsed
    return any(parsed in network for network in trusted)


def client_address(peer: str, forwarded_for: str, trusted: Sequence[Network]) -> str:
    """The address of the client: the peer, or what the trusted proxies in front say, read from the nearest one on.

    Everything left of the first address that is not trusted could have been made up by the client.
    """
    if not trusted or not forwarded_for or not is_trusted(peer, trusted):
        return peer
    nearest_first = [hop.strip() for hop in forwarded_for.split(",")][: -MAX_FORWARDED_HOPS - 1 : -1]
    client = peer
    for hop in nearest_first:
        try:
            client = str(ipaddress.ip_address(hop))
        except ValueError:
            return client
        if not is_trusted(client, trusted):
            return client
    return client


@lru_cache(CACHED_ADDRESSES)
def client_key(address: str) -> str:
    """What an address is counted under: itself, or its network for IPv6."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return address
    if parsed.ipv4_mapped:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, IPV6_CLIENT_PREFIX), strict=False))
