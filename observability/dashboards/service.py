"""One service: its requests, what it calls, and what its processes use. The same for each service."""

from __future__ import annotations

from observability.dashboards.common import (
    Board,
    Panel,
    Query,
    Row,
    mean,
    of,
    per_minute,
    quantile,
    quantiles,
    rate,
    share,
)

ONE = 'app_kubernetes_io_name="$service"'
SLOW = '{resource.service.name="${service}" && duration > 500ms}'
FAILED = '{resource.service.name="${service}" && status = error}'
NO_STREAMS = f'{ONE}, route!~".*/events"'
REQUESTS = "shop_http_requests_total"
SECONDS = "shop_http_request_duration_seconds"

REQUEST_ROW = Row(
    "Requests of $service",
    [
        Panel(
            "Requests",
            "Answered each second, by status.",
            "reqps",
            [Query(rate(REQUESTS, ONE, "status"), "{{status}}")],
            stacked=True,
        ),
        Panel(
            "Errors",
            "Share of the requests that were answered with 5xx.",
            "percentunit",
            [Query(share(rate(REQUESTS, f'{ONE}, status=~"5.."'), rate(REQUESTS, ONE)), "5xx")],
            orange=0.001,
            red=0.01,
            traces=FAILED,
        ),
        Panel(
            "Latency",
            "Time to the end of the answer, without event streams.",
            "s",
            quantiles(SECONDS, NO_STREAMS),
            alert="ShopSlow",
            orange=0.5,
            red=2.5,
            exemplars=True,
            traces=SLOW,
        ),
        Panel(
            "Slowest routes",
            "99th percentile of each route.",
            "s",
            [Query(f"topk(8, {quantile(0.99, SECONDS, NO_STREAMS, 'method, route')})", "{{method}} {{route}}")],
            traces=SLOW,
        ),
        Panel(
            "Requests by route",
            "Answered each second, the eight most frequent.",
            "reqps",
            [Query(f"topk(8, {rate(REQUESTS, ONE, 'method, route')})", "{{method}} {{route}}")],
        ),
        Panel(
            "Under way",
            "Requests that are being answered, event streams included.",
            "short",
            [Query(f"sum({of('shop_http_requests_inflight', ONE)})", "under way")],
        ),
    ],
)
CALLS = Row(
    "What $service calls",
    [
        Panel(
            "Calls to other services",
            "By service and outcome, each second. Empty for a service that calls none.",
            "reqps",
            [Query(rate("shop_client_requests_total", ONE, "upstream, outcome"), "{{upstream}} {{outcome}}")],
        ),
        Panel(
            "Latency of calls",
            "99th percentile by service.",
            "s",
            [Query(quantile(0.99, "shop_client_request_duration_seconds", ONE, "upstream"), "{{upstream}}")],
        ),
        Panel(
            "Circuit breakers",
            "0 closed, 1 half open, 2 open: no calls are made.",
            "short",
            [Query(f"max by (upstream) ({of('shop_client_breaker_state', ONE)})", "{{upstream}}")],
            orange=1,
            red=2,
        ),
        Panel(
            "SQL statements",
            "Sent each second, transaction control included.",
            "ops",
            [Query(rate("shop_database_statements_total", ONE), "statements")],
        ),
        Panel(
            "Wait for a connection",
            "Mean time that a transaction waits for a connection of the pool.",
            "s",
            [Query(mean("shop_database_pool_wait_seconds", ONE), "wait")],
            alert="ShopConnectionsUsedUp",
            orange=0.1,
            red=1,
        ),
        Panel(
            "Restarted loops",
            "Background loops that failed and were started again, each minute.",
            "short",
            [Query(per_minute(rate("shop_task_restarts_total", ONE, "task")), "{{task}}")],
            alert="ShopLoopRestarts",
        ),
    ],
)
PROCESS = Row(
    "Processes of $service",
    [
        Panel(
            "CPU",
            "Cores in use, by process.",
            "short",
            [Query(rate("process_cpu_seconds_total", ONE, "instance"), "{{instance}}")],
        ),
        Panel(
            "Memory",
            "Resident memory, by process.",
            "bytes",
            [Query(f"sum by (instance) ({of('process_resident_memory_bytes', ONE)})", "{{instance}}")],
        ),
        Panel(
            "Event loop",
            "99th percentile of how late the event loop runs what is due.",
            "s",
            [Query(quantile(0.99, "shop_event_loop_lag_seconds", ONE, "instance"), "{{instance}}")],
            alert="ShopEventLoopBlocked",
            orange=0.1,
            red=0.25,
        ),
        Panel(
            "Open files",
            "Share of the file descriptors that a process may have.",
            "percentunit",
            [
                Query(
                    f"max by (instance) ({of('process_open_fds', ONE)} / {of('process_max_fds', ONE)})",
                    "{{instance}}",
                )
            ],
            orange=0.5,
            red=0.9,
        ),
        Panel(
            "Garbage collections",
            "Of all generations, each second.",
            "ops",
            [Query(rate("python_gc_collections_total", ONE, "instance"), "{{instance}}")],
        ),
        Panel(
            "Age",
            "Time since the process started: a pod that restarts again and again stays near 0.",
            "s",
            [Query(f"time() - max by (instance) ({of('process_start_time_seconds', ONE)})", "{{instance}}")],
        ),
    ],
)
BOARD = Board(
    "service",
    "Service",
    "One service: its requests, what it calls, and what its processes use.",
    [REQUEST_ROW, CALLS, PROCESS],
    variables=("namespace", "shop", "service"),
)
