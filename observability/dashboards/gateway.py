"""The way of a request through the gateway."""

from __future__ import annotations

from observability.dashboards.common import Board, Panel, Query, Row, of, per_minute, quantile, rate, share

GATEWAY = 'app_kubernetes_io_name="gateway"'
REQUESTS = "shop_gateway_requests_total"
USABLE = of("shop_upstream_instances", 'state="usable"')
SECONDS = "shop_http_request_duration_seconds"

TRAFFIC = Row(
    "Traffic",
    [
        Panel(
            "Sent on",
            "Requests each second, by the service behind them.",
            "reqps",
            [Query(rate(REQUESTS, by="upstream"), "{{upstream}}")],
            stacked=True,
        ),
        Panel(
            "Errors by service",
            "Share of each service's requests that were answered with 5xx, by the service or instead of it.",
            "percentunit",
            [Query(share(rate(REQUESTS, 'status=~"5.."', "upstream"), rate(REQUESTS, by="upstream")), "{{upstream}}")],
            alert="ShopBudgetBurnsFast",
            orange=0.001,
            red=0.01,
            traces='{resource.service.name="gateway" && status = error}',
        ),
        Panel(
            "Latency by route",
            "99th percentile, the eight slowest, without event streams.",
            "s",
            [Query(f"topk(8, {quantile(0.99, SECONDS, f'{GATEWAY}, route!~".*/events"', 'route')})", "{{route}}")],
            orange=0.5,
            red=2.5,
            exemplars=True,
            traces='{resource.service.name="gateway" && duration > 500ms}',
        ),
        Panel(
            "Answers by status",
            "What customers got, each second.",
            "reqps",
            [Query(rate("shop_http_requests_total", GATEWAY, "status"), "{{status}}")],
        ),
        Panel(
            "Under way",
            "Requests that a service is working on.",
            "short",
            [Query(f"sum by (upstream) ({of('shop_gateway_upstream_inflight')})", "{{upstream}}")],
        ),
        Panel(
            "Event streams",
            "Streams of events that are open.",
            "short",
            [Query(f"sum by (upstream) ({of('shop_gateway_upstream_streams')})", "{{upstream}}")],
        ),
    ],
)
FAULTS = Row(
    "Faults",
    [
        Panel(
            "Incomplete answers",
            "Requests each minute that a service did not answer in full, by the reason.",
            "short",
            [
                Query(
                    per_minute(rate("shop_gateway_upstream_failures_total", by="upstream, reason")),
                    "{{upstream}} {{reason}}",
                )
            ],
        ),
        Panel(
            "Breakers",
            "The worst instance of each service: 0 closed, 1 half open, 2 open.",
            "short",
            [Query(f"max by (upstream) ({of('shop_gateway_breaker_state')})", "{{upstream}}")],
            alert="ShopBreakerOpen",
            orange=1,
            red=2,
        ),
        Panel(
            "Tried again",
            "Each minute: connections that were tried again, and requests that were sent again.",
            "short",
            [
                Query(per_minute(rate("shop_gateway_reconnects_total", by="upstream")), "{{upstream}} connections"),
                Query(per_minute(rate("shop_gateway_repeats_total", by="upstream")), "{{upstream}} requests"),
            ],
        ),
        Panel(
            "Rate limited",
            "Requests each minute that were refused because a client sends too many.",
            "short",
            [Query(per_minute(rate("shop_gateway_rate_limited_total", by="bucket")), "{{bucket}}")],
        ),
        Panel(
            "Refused for overload",
            "Requests each minute that were refused because a service has as many as it can process.",
            "short",
            [Query(per_minute(rate("shop_gateway_overload_refused_total", by="upstream")), "{{upstream}}")],
        ),
        Panel(
            "Concurrency limit",
            "Requests that a service may have at once from a gateway, the lowest of them.",
            "short",
            [Query(f"min by (upstream) ({of('shop_gateway_concurrency_limit')})", "{{upstream}}")],
        ),
    ],
)
INSTANCES = Row(
    "Instances",
    [
        Panel(
            "Usable instances",
            "Instances of each service that take requests, as the caller sees them that sees the fewest.",
            "short",
            [Query(f"min by (upstream) ({USABLE})", "{{upstream}}")],
            alert="ShopInstancesUnusable",
        ),
        Panel(
            "Ejections",
            "Instances each minute that were sent no more requests, by their service.",
            "short",
            [Query(per_minute(rate("shop_upstream_ejections_total", by="upstream")), "{{upstream}}")],
        ),
        Panel(
            "Repeats and their budget",
            "Requests each minute that were to be sent a second time: sent, or over the budget.",
            "short",
            [Query(per_minute(rate("shop_upstream_repeats_total", by="upstream, result")), "{{upstream}} {{result}}")],
            alert="ShopRetriesOverBudget",
        ),
        Panel(
            "Registrations",
            "Renewals each minute in the registry, by their result. In a cluster there is none.",
            "short",
            [Query(per_minute(rate("shop_registry_renewals_total", by="result")), "{{result}}")],
            alert="ShopRegistrationFails",
        ),
        Panel(
            "Registered instances",
            "Of the gateway's processes, the one that knows the fewest. Other services know those that they follow.",
            "short",
            [Query(f"min({of('shop_registry_instances', GATEWAY)})", "instances")],
        ),
    ],
)
BOARD = Board("gateway", "Gateway", "The way of a request through the gateway.", [TRAFFIC, FAULTS, INSTANCES])
