"""The operator: its Shops, its queue, and its requests to the API server."""

from __future__ import annotations

from observability.dashboards.common import WINDOW, Board, Panel, Query, Row, per_minute

BACKUP_DONE = "shop_operator_backup_done_timestamp_seconds"
CHOSEN = '{namespace="$operator"'


def _of(metric: str, labels: str = "") -> str:
    """Series of the operator, which has no shop."""
    return f"{metric}{CHOSEN}{', ' if labels else ''}{labels}}}"


def _rate(metric: str, labels: str = "", by: str = "") -> str:
    return f"sum{f' by ({by})' if by else ''} (rate({_of(metric, labels)}[{WINDOW}]))"


def _quantile(histogram: str, by: str) -> str:
    return f"histogram_quantile(0.99, {_rate(f'{histogram}_bucket', by=f'le, {by}')}) > -Inf"


def _count(metric: str, value: int) -> str:
    """How many Shops have this value; 0, not nothing, where none has it."""
    return f"count(max by (shop_namespace, shop) ({_of(metric)}) == {value}) or 0 * max({_of('shop_operator_leader')})"


SHOPS = Row(
    "Shops",
    [
        Panel(
            "Ready",
            "Shops that serve what their spec says.",
            "short",
            [
                Query(
                    _count("shop_operator_shop_ready", 1),
                    "ready",
                )
            ],
            kind="stat",
            width=6,
        ),
        Panel(
            "Not ready",
            "Shops that do not.",
            "short",
            [
                Query(
                    _count("shop_operator_shop_ready", 0),
                    "not ready",
                )
            ],
            kind="stat",
            width=6,
            alert="ShopNotReady",
            red=1,
        ),
        Panel(
            "Degraded",
            "Shops of which something is wrong.",
            "short",
            [
                Query(
                    _count("shop_operator_shop_degraded", 1),
                    "degraded",
                )
            ],
            kind="stat",
            width=6,
            alert="ShopDegraded",
            orange=1,
        ),
        Panel(
            "Leaders",
            "Processes that hold the Lease: one.",
            "short",
            [Query(f"sum({_of('shop_operator_leader')})", "leaders")],
            kind="stat",
            width=6,
            alert="ShopOperatorDown",
            red=1,
            falling=True,
        ),
        Panel(
            "Conditions",
            "Shops by condition.",
            "short",
            [Query(f"sum by (condition, status) ({_of('shop_operator_shops')})", "{{condition}} {{status}}")],
        ),
        Panel(
            "Since the last backup",
            "Of each Shop that has scheduled backups and a first one.",
            "s",
            [
                Query(
                    f"time() - (max by (shop_namespace, shop) ({_of(BACKUP_DONE)}) > 0)",
                    "{{shop_namespace}}/{{shop}}",
                )
            ],
            alert="ShopBackupOverdue",
        ),
        Panel(
            "New version",
            "Shops that wait for this release of the operator, get it, or have failed with it.",
            "short",
            [Query(f"sum by (state) ({_of('shop_operator_upgrade_shops')})", "{{state}}")],
            alert="ShopUpgradeStopped",
        ),
    ],
)
WORK = Row(
    "Reconciles",
    [
        Panel(
            "Reconciles",
            "Each second, by result.",
            "ops",
            [Query(_rate("shop_operator_reconcile_seconds_count", by="result"), "{{result}}")],
            alert="ShopOperatorReconcileFailing",
        ),
        Panel(
            "Time of a reconcile",
            "99th percentile by result.",
            "s",
            [Query(_quantile("shop_operator_reconcile_seconds", "result"), "{{result}}")],
        ),
        Panel(
            "Queue",
            "Shops that wait for a reconcile.",
            "short",
            [Query(f"sum({_of('shop_operator_queue_depth')})", "waiting")],
        ),
        Panel(
            "Longest wait",
            "How long the Shop that waits longest has waited.",
            "s",
            [Query(f"max({_of('shop_operator_queue_oldest_seconds')})", "longest")],
            alert="ShopOperatorQueueStuck",
            orange=60,
            red=300,
        ),
        Panel(
            "Time of rendering",
            "99th percentile of a run of helm, by result.",
            "s",
            [Query(_quantile("shop_operator_render_seconds", "result"), "{{result}}")],
        ),
        Panel(
            "Applied objects",
            "Each second: changed, or the same as before.",
            "ops",
            [Query(_rate("shop_operator_applied_objects_total", by="result"), "{{result}}")],
        ),
        Panel(
            "Repairs and rollbacks",
            "Objects repaired after a foreign change, objects deleted, and rollouts taken back, each minute.",
            "short",
            [
                Query(per_minute(_rate("shop_operator_drift_repairs_total")), "repaired"),
                Query(per_minute(_rate("shop_operator_pruned_objects_total")), "deleted"),
                Query(per_minute(_rate("shop_operator_rollbacks_total")), "rolled back"),
            ],
            alert="ShopRolledBack",
        ),
    ],
)
API = Row(
    "API server",
    [
        Panel(
            "Requests",
            "Each second, by verb and code; code 0 is no response.",
            "reqps",
            [Query(_rate("shop_operator_api_requests_total", by="verb, code"), "{{verb}} {{code}}")],
        ),
        Panel(
            "Time of requests",
            "99th percentile by verb.",
            "s",
            [Query(_quantile("shop_operator_api_request_seconds", "verb"), "{{verb}}")],
        ),
        Panel(
            "Throttled",
            "Requests each minute that the API server throttled.",
            "short",
            [Query(per_minute(_rate("shop_operator_api_throttled_total")), "throttled")],
            orange=1,
        ),
        Panel(
            "Silence of watches",
            "Time since the last event of each kind, the eight longest. The API server sends one every minute.",
            "s",
            [Query(f"topk(8, max by (kind) ({_of('shop_operator_watch_silence_seconds')}))", "{{kind}}")],
            alert="ShopOperatorWatchDead",
            orange=90,
            red=180,
        ),
        Panel(
            "Restarted watches",
            "Each minute, by why the last one ended.",
            "short",
            [Query(per_minute(_rate("shop_operator_watch_restarts_total", by="reason")), "{{reason}}")],
        ),
    ],
)
BOARD = Board(
    "operator",
    "Operator",
    "The operator: its Shops, its queue, and its requests to the API server.",
    [SHOPS, WORK, API],
    variables=("operator",),
)
