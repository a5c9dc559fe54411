"""Connections to Valkey with limits. Only services whose manifest has `cache` install what this module needs."""

from __future__ import annotations

from typing import Any

from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.client import Pipeline
from redis.exceptions import NoScriptError
from redis.maint_notifications import MaintNotificationsConfig

from shop.kit import store_spans

NO_MAINTENANCE = MaintNotificationsConfig(enabled=False)
"""Valkey sends no such notifications, and with them redis-py gives out connections that the server has closed."""


def open_valkey(url: str, *, connections: int, timeout_s: float, **options: Any) -> Redis:
    """At most ``connections``; a call waits ``timeout_s`` for one, and for each reply. ``options`` are redis-py's."""
    pool = BlockingConnectionPool.from_url(
        url,
        max_connections=connections,
        timeout=timeout_s,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        maint_notifications_config=NO_MAINTENANCE,
        **options,
    )
    return _Valkey.from_pool(pool)


class _Pipeline(Pipeline):
    """Commands that are sent together are one span."""

    async def execute(self, raise_on_error: bool = True) -> list[Any]:
        with store_spans.command("PIPELINE", len(self.command_stack)):
            results: list[Any] = await super().execute(raise_on_error)
            return results


class _Valkey(Redis):
    """Each command is a span in sampled traces."""

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        with store_spans.command(str(args[0])):
            try:
                return await super().execute_command(*args, **options)  # type: ignore[no-untyped-call]
            except NoScriptError as error:
                # No failure: the caller loads the script and repeats the command.
                unknown = error
        raise unknown

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> Pipeline:
        return _Pipeline(self.connection_pool, self.response_callbacks, transaction, shard_hint)
