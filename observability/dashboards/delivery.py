"""Food: kitchens, couriers, and how punctual deliveries are."""

from __future__ import annotations

from observability.dashboards.common import Board, Panel, Query, Row, mean, of, per_minute, quantile, rate

FOOD = Row(
    "Orders of food",
    [
        Panel(
            "Kitchens' answers",
            "Tickets each minute by the kitchen's answer.",
            "short",
            [Query(per_minute(rate("shop_restaurant_tickets_total", by="answer")), "{{answer}}")],
        ),
        Panel(
            "Reservations of couriers",
            "Each minute by their result.",
            "short",
            [Query(per_minute(rate("shop_delivery_reservations_total", by="result")), "{{result}}")],
        ),
        Panel(
            "Undeliverable",
            "Orders of food that have not ended in a shop whose food was turned off.",
            "short",
            [Query(f"max({of('shop_order_food_undeliverable')})", "orders")],
            alert="ShopFoodUndeliverable",
            red=1,
        ),
    ],
)
COURIERS = Row(
    "Deliveries",
    [
        Panel(
            "Deliveries by state",
            "Deliveries that reached a state, each minute.",
            "short",
            [Query(per_minute(rate("shop_delivery_changes_total", by="state")), "{{state}}")],
        ),
        Panel(
            "In line",
            "Deliveries that wait for a courier.",
            "short",
            [Query(f"max({of('shop_delivery_waiting')})", "waiting")],
            alert="ShopCouriersMissing",
            orange=5,
            red=20,
        ),
        Panel(
            "Couriers on shift",
            "By their last position: fresh, stale or none.",
            "short",
            [Query(f"max by (fix) ({of('shop_delivery_couriers')})", "{{fix}}")],
            stacked=True,
        ),
        Panel(
            "Later than the first estimate",
            "Median and 95th percentile of the delay; early deliveries count as 0.",
            "s",
            [
                Query(quantile(0.5, "shop_delivery_eta_error_seconds"), "p50"),
                Query(quantile(0.95, "shop_delivery_eta_error_seconds"), "p95"),
            ],
            orange=300,
            red=600,
        ),
        Panel(
            "Earlier than the first estimate",
            "Mean of the deliveries that came earlier.",
            "s",
            [Query(mean("shop_delivery_early_seconds"), "mean")],
        ),
        Panel(
            "Time of a decision",
            "99th percentile and mean of a transaction that decides about deliveries.",
            "s",
            [
                Query(quantile(0.99, "shop_delivery_dispatch_seconds"), "p99"),
                Query(mean("shop_delivery_dispatch_seconds"), "mean"),
            ],
            orange=0.5,
            red=2,
            traces='{resource.service.name="delivery" && duration > 500ms}',
        ),
        Panel(
            "Positions",
            "Positions of couriers each second, by what became of them.",
            "ops",
            [Query(rate("shop_delivery_positions_total", by="result"), "{{result}}")],
        ),
        Panel(
            "Watchers",
            "Clients that watch a delivery or their jobs, or the tickets of a restaurant.",
            "short",
            [
                Query(f"sum by (kind) ({of('shop_delivery_streams')})", "{{kind}}"),
                Query(f"sum({of('shop_restaurant_streams')})", "tickets"),
            ],
        ),
        Panel(
            "Why deliveries failed",
            "Deliveries each minute that failed or were cancelled, by reason.",
            "short",
            [
                Query(
                    per_minute(rate("shop_delivery_changes_total", 'state=~"failed|cancelled"', "state, reason")),
                    "{{state}} {{reason}}",
                )
            ],
        ),
    ],
)
BOARD = Board("delivery", "Delivery", "Food: kitchens, couriers, and how punctual deliveries are.", [FOOD, COURIERS])
