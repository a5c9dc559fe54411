"""Sagas of orders, and the way of events from an outbox to their consumers."""

from __future__ import annotations

from observability.dashboards.common import (
    EACH_SERVICE,
    NAMED,
    Board,
    Panel,
    Query,
    Row,
    of,
    per_minute,
    quantile,
    rate,
)

STEPS = "shop_order_saga_steps_total"
NOT_TAKEN = 'result!="taken"'

SAGAS = Row(
    "Sagas of orders",
    [
        Panel(
            "Ended",
            "Sagas that ended each minute, by operation and end.",
            "short",
            [Query(per_minute(rate("shop_order_saga_duration_seconds_count", by="kind, end")), "{{kind}} {{end}}")],
        ),
        Panel(
            "Duration",
            "Median and 99th percentile from the request to the end.",
            "s",
            [
                Query(quantile(0.5, "shop_order_saga_duration_seconds", by="kind"), "{{kind}} p50"),
                Query(quantile(0.99, "shop_order_saga_duration_seconds", by="kind"), "{{kind}} p99"),
            ],
            exemplars=True,
            traces='{resource.service.name="order"}',
        ),
        Panel(
            "Not ended",
            "Sagas that are under way or wait for a participant.",
            "short",
            [Query(f"max by (kind) ({of('shop_order_sagas_waiting')})", "{{kind}}")],
        ),
        Panel(
            "Oldest",
            "Age of the oldest saga that has not ended, by operation.",
            "s",
            [Query(f"max by (kind) ({of('shop_order_oldest_saga_age_seconds')})", "{{kind}}")],
            alert="ShopOrdersWaiting",
            orange=60,
            red=600,
        ),
        Panel(
            "Steps that did not succeed",
            "Tries of steps each minute, by outcome.",
            "short",
            [
                Query(
                    per_minute(rate(STEPS, 'phase="action", outcome!="done"', "saga, step, outcome")),
                    "{{saga}} {{step}} {{outcome}}",
                )
            ],
            stacked=True,
        ),
        Panel(
            "Compensations",
            "Steps that were undone each minute, by outcome.",
            "short",
            [
                Query(
                    per_minute(rate(STEPS, 'phase="compensation"', "saga, step, outcome")),
                    "{{saga}} {{step}} {{outcome}}",
                )
            ],
            stacked=True,
        ),
        Panel(
            "Time of steps",
            "99th percentile of one try of a step.",
            "s",
            [
                Query(
                    quantile(0.99, "shop_order_saga_step_seconds", 'phase="action"', "saga, step"), "{{saga}} {{step}}"
                )
            ],
            orange=1,
            red=5,
        ),
        Panel(
            "Taken over",
            "Updates each minute that were refused because another worker had taken the saga over.",
            "short",
            [Query(per_minute(rate("shop_order_superseded_total")), "refused updates")],
        ),
        Panel(
            "Payments resolved late",
            "Payments and refunds each minute whose outcome was found out after their lease.",
            "short",
            [Query(per_minute(rate("shop_payment_resolved_total", by="state")), "{{state}}")],
        ),
    ],
)
OUTBOXES = Row(
    "Outboxes",
    [
        Panel(
            "Published",
            "Events that the broker acknowledged, each second.",
            "ops",
            [Query(rate("shop_outbox_published_total", by=EACH_SERVICE), NAMED)],
            by_service=True,
        ),
        Panel(
            "Unpublished",
            "Events that wait in an outbox, counted up to a limit.",
            "short",
            [Query(f"max by ({EACH_SERVICE}) ({of('shop_outbox_unpublished')})", NAMED)],
            by_service=True,
        ),
        Panel(
            "Oldest unpublished",
            "Age of the oldest event that is not published.",
            "s",
            [Query(f"max by ({EACH_SERVICE}) ({of('shop_outbox_oldest_event_age_seconds')})", NAMED)],
            alert="ShopEventsStuck",
            orange=10,
            red=60,
            by_service=True,
        ),
    ],
)
INBOXES = Row(
    "Consumers",
    [
        Panel(
            "Processed",
            "Events each second, by what became of them.",
            "ops",
            [Query(rate("shop_inbox_events_total", by="result"), "{{result}}")],
        ),
        Panel(
            "Duplicates and failures",
            "Events each minute that were delivered again, failed or were given up.",
            "short",
            [
                Query(
                    per_minute(rate("shop_inbox_events_total", NOT_TAKEN, f"{EACH_SERVICE}, consumer, result")),
                    f"{NAMED} {{{{consumer}}}} {{{{result}}}}",
                )
            ],
            alert="ShopEventsGivenUp",
            by_service=True,
        ),
        Panel(
            "Behind",
            "Events of the streams that a consumer has not got yet.",
            "short",
            [
                Query(
                    f"max by ({EACH_SERVICE}, consumer, publisher) ({of('shop_inbox_pending_events')})",
                    f"{NAMED} {{{{consumer}}}} {{{{publisher}}}}",
                )
            ],
            alert="ShopConsumerBehind",
            orange=100,
            red=1000,
            by_service=True,
        ),
        Panel(
            "Delay",
            "99th percentile from an event to its effect.",
            "s",
            [
                Query(
                    quantile(0.99, "shop_inbox_delay_seconds", by=f"{EACH_SERVICE}, consumer"),
                    f"{NAMED} {{{{consumer}}}}",
                )
            ],
            by_service=True,
        ),
        Panel(
            "Dead letters",
            "Events that were given up and wait for a person.",
            "short",
            [
                Query(
                    f"max by ({EACH_SERVICE}, consumer) ({of('shop_inbox_dead_letters')})",
                    f"{NAMED} {{{{consumer}}}}",
                )
            ],
            alert="ShopDeadLettersKept",
            red=1,
            by_service=True,
        ),
    ],
)
BOARD = Board(
    "sagas",
    "Sagas and events",
    "Sagas of orders, and the way of events from an outbox to their consumers.",
    [SAGAS, OUTBOXES, INBOXES],
)
