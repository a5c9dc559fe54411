"""Rate limits: the client of a request, and a token bucket for each in a bounded table."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable, Sequence
from functools import lru_cache

import cachetools

from shop.gateway.settings import Network

MAX_CLIENTS = 50_000
"""Clients in the table; the least recently seen is dropped first, and its bucket would be full again by then."""
MAX_FORWARDED_HOPS = 20
IPV6_CLIENT_PREFIX = 64
"""One household or server has a whole /64: a limit per address would be no limit."""
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
        self._now = now
        self._buckets: cachetools.LRUCache[str, tuple[float, float]] = cachetools.LRUCache(max_clients)
        """Tokens left and the time of that, in seconds of ``now``."""

    def take(self, client: str) -> float:
        """Take one token; 0.0 when there was one, else the seconds until there is one."""
        if not self._per_second:
            return 0.0
        now = self._now()
        left, since = self._buckets.get(client, (self._burst, now))
        left = min(self._burst, left + (now - since) * self._per_second)
        allowed = left >= 1.0
        self._buckets[client] = (left - 1.0 if allowed else left, now)
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
    # A dual-stack socket reports IPv4 peers in this form.
    parsed = getattr(parsed, "ipv4_mapped", None) or parsed
    return any(parsed in network for network in trusted)


def client_address(peer: str, forwarded_for: str, trusted: Sequence[Network]) -> str:
    """The address of the client: the peer, or the one that the trusted proxies report, read from the nearest proxy on.

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
    """The key of an address in the table: itself, or its network for IPv6."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv4Address):
        return address
    if parsed.ipv4_mapped:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, IPV6_CLIENT_PREFIX), strict=False))
