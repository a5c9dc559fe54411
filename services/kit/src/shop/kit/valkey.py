"""Connections to Valkey with limits. Only services whose manifest has `cache` install what this module needs."""

from __future__ import annotations

from typing import Any

from redis.asyncio import BlockingConnectionPool, Redis


def open_valkey(url: str, *, connections: int, timeout_s: float, **options: Any) -> Redis:
    """At most ``connections``; a call waits ``timeout_s`` for one, and for each reply. ``options`` are redis-py's."""
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=connections,
        timeout=timeout_s,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        **options,
    )
    return Redis.from_pool(pool)
