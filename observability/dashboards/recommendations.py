"""What is recommended, why, and how old the model is."""

from __future__ import annotations

from observability.dashboards.common import Board, Panel, Query, Row, of, quantile, rate, share

ANSWERS = "shop_recommendation_answers_total"
TRAINING = "shop_recommendation_training_seconds"
"""Trainings are so rare that a rate is empty nearly always."""

GIVEN = Row(
    "Recommendations",
    [
        Panel(
            "Recommended products",
            "Each second, by reason.",
            "ops",
            [Query(rate("shop_recommendation_results_total", by="kind"), "{{kind}}")],
            stacked=True,
        ),
        Panel(
            "Complete answers",
            "Share of the answers that have as many products as were asked for.",
            "percentunit",
            [Query(share(rate(ANSWERS, 'result="full"'), rate(ANSWERS)), "complete")],
        ),
        Panel(
            "Left out",
            "Candidates each second that were not recommended.",
            "ops",
            [Query(rate("shop_recommendation_filtered_total", by="reason"), "{{reason}}")],
        ),
        Panel(
            "Calls over gRPC",
            "Answered each second, by status code.",
            "reqps",
            [Query(rate("shop_grpc_requests_total", by="code"), "{{code}}")],
        ),
        Panel(
            "Latency over gRPC",
            "99th percentile by method.",
            "s",
            [Query(quantile(0.99, "shop_grpc_request_duration_seconds", by="method"), "{{method}}")],
            orange=0.1,
            red=0.5,
            exemplars=True,
            traces='{resource.service.name="recommendation" && duration > 100ms}',
        ),
        Panel(
            "As the storefront sees it",
            "gRPC calls of the storefront each second, by status code.",
            "reqps",
            [Query(rate("shop_grpc_client_requests_total", by="code"), "{{code}}")],
        ),
    ],
)
MODEL = Row(
    "Model",
    [
        Panel(
            "Age of the model",
            "Since the model in use was trained; 0 without one.",
            "s",
            [Query(f"max({of('shop_recommendation_model_age_seconds')})", "age")],
            kind="stat",
            alert="ShopModelOld",
            orange=86400,
            red=172800,
        ),
        Panel(
            "Orders in the model",
            "Orders that the model in use was trained on.",
            "short",
            [Query(f"max({of('shop_recommendation_model_orders')})", "orders")],
            kind="stat",
        ),
        Panel(
            "Time of a training",
            "Mean since the start of the processes, reading and storing included.",
            "s",
            [Query(f"sum({of(f'{TRAINING}_sum')}) / (sum({of(f'{TRAINING}_count')}) > 0)", "mean")],
            kind="stat",
            orange=10,
            red=60,
        ),
    ],
)
BOARD = Board(
    "recommendations", "Recommendations", "What is recommended, why, and how old the model is.", [GIVEN, MODEL]
)
