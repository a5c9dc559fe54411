"""PostgreSQL, NATS and Valkey as the services use them."""

from __future__ import annotations

from observability.dashboards.common import (
    EACH_SERVICE,
    NAMED,
    Board,
    Panel,
    Query,
    Row,
    mean,
    of,
    per_minute,
    quantile,
    rate,
)

POSTGRES = Row(
    "PostgreSQL",
    [
        Panel(
            "Connections in use",
            "Connections of the services' pools that a transaction has.",
            "short",
            [Query(f"sum by ({EACH_SERVICE}) ({of('shop_database_pool_connections', 'state="used"')})", NAMED)],
            by_service=True,
        ),
        Panel(
            "Fullest pool",
            "Share of the connections of a process's pool that is in use.",
            "percentunit",
            [
                Query(
                    f"max by ({EACH_SERVICE}) (sum by ({EACH_SERVICE}, instance) "
                    f"({of('shop_database_pool_connections', 'state="used"')}) "
                    f"/ sum by ({EACH_SERVICE}, instance) ({of('shop_database_pool_limit')}))",
                    NAMED,
                )
            ],
            alert="ShopConnectionsUsedUp",
            orange=0.8,
            red=1,
            by_service=True,
        ),
        Panel(
            "Wait for a connection",
            "99th percentile of the time that a transaction waits for a connection of the pool.",
            "s",
            [Query(quantile(0.99, "shop_database_pool_wait_seconds", by=EACH_SERVICE), NAMED)],
            orange=0.1,
            red=1,
            by_service=True,
        ),
        Panel(
            "Statements",
            "SQL statements each second, transaction control included.",
            "ops",
            [Query(rate("shop_database_statements_total", by=EACH_SERVICE), NAMED)],
            stacked=True,
            by_service=True,
        ),
        Panel(
            "Open connections",
            "Connections that the pools hold, in use or idle; compare it with the server's max_connections.",
            "short",
            [Query(f"sum by (state) ({of('shop_database_pool_connections')})", "{{state}}")],
            stacked=True,
        ),
    ],
)
NATS = Row(
    "NATS",
    [
        Panel(
            "Connected",
            "Share of each service's processes that have a connection to the broker.",
            "percentunit",
            [Query(f"avg by ({EACH_SERVICE}) ({of('shop_broker_connected')})", NAMED)],
            alert="ShopBrokerUnreachable",
            orange=0.99,
            red=0.5,
            falling=True,
            by_service=True,
        ),
        Panel(
            "Fill of the streams",
            "Size of each stream as a share of its limit, beyond which the oldest events are deleted.",
            "percentunit",
            [
                Query(
                    f"max by (stream) ({of('shop_broker_stream_bytes')}) "
                    f"/ max by (stream) ({of('shop_broker_stream_limit_bytes')})",
                    "{{stream}}",
                )
            ],
            alert="ShopStreamFull",
            orange=0.7,
            red=0.9,
        ),
        Panel(
            "Size of the streams",
            "Bytes of all events that each stream keeps.",
            "bytes",
            [Query(f"max by (stream) ({of('shop_broker_stream_bytes')})", "{{stream}}")],
            stacked=True,
        ),
        Panel(
            "Lost by the broker",
            "Events each minute that the broker had lost and that were sent again.",
            "short",
            [Query(per_minute(rate("shop_outbox_lost_total", by=EACH_SERVICE)), NAMED)],
            alert="ShopEventsLost",
            red=1,
            by_service=True,
        ),
        Panel(
            "From event to effect",
            "Mean time from an event to its effect in a consumer.",
            "s",
            [Query(mean("shop_inbox_delay_seconds", by=EACH_SERVICE), NAMED)],
            by_service=True,
        ),
    ],
)
VALKEY = Row(
    "Valkey",
    [
        Panel(
            "Boards from the cache",
            "Reads of boards each second, by what they were answered from.",
            "ops",
            [Query(rate("shop_leaderboard_reads_total", by="source"), "{{source}}")],
        ),
        Panel(
            "Changes that the cache did not take",
            "Each minute. The database has them; boards are written anew.",
            "short",
            [Query(per_minute(rate("shop_leaderboard_cache_failures_total")), "changes")],
            orange=1,
        ),
        Panel(
            "Profiles from the cache",
            "Reads of profiles of players each second, by what they were answered from.",
            "ops",
            [Query(rate("shop_player_profile_reads_total", by="source"), "{{source}}")],
        ),
    ],
)
MORE = """These panels show the stores as the services see them. What only a store knows needs an exporter beside it:
`postgres_exporter` (replication, locks, vacuum, bloat), `prometheus-nats-exporter` (memory, consumers, raft) and
`redis_exporter` (memory, evictions). The space left on the volumes is a metric of the kubelet, on which the alert
ShopVolumeFillsUp stands."""
BOARD = Board(
    "stores",
    "Data stores",
    "PostgreSQL, NATS and Valkey as the services use them.",
    [POSTGRES, NATS, VALKEY],
    texts=[("What is not here", MORE)],
)
