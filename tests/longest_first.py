"""Order of the test files for several workers: those that take longest begin, so that none is left at the end.

Files that need the same costly thing, which a worker makes once, run in one worker.

As a plugin of pytest: `pytest -p tests.longest_first --no-loadscope-reorder`. xdist alone goes by the number of tests.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest
from xdist.remote import Producer
from xdist.scheduler import LoadFileScheduling

ROOT = Path(__file__).parent.parent
LONGEST = (
    "tests/operator/test_kills.py",
    "tests/operator/test_revisions.py",
    "tests/operator/test_kills_back.py",
    "tests/integration/test_backup_bucket.py",
    "tests/architecture/test_new_service.py",
    "tests/charts/test_chart_values.py",
    "services/order/tests/test_order_food_crashes.py",
    "tests/contracts/test_food_order_clock.py",
    "tests/telemetry/test_rules.py",
    "services/kit/tests/test_grpc_balancing.py",
    "tests/contracts/test_food_order.py",
    "k8s/operator/tests/test_audit_oracles.py",
    "k8s/operator/tests/test_shopctl_cli.py",
    "services/order/tests/test_order_faults.py",
    "services/notification/tests/test_notification_deleted_users.py",
    "services/restaurant/tests/test_restaurant_api.py",
    "tests/integration/test_backup_scripts.py",
    "services/player/tests/test_player_cache.py",
    "services/kit/tests/test_grpc_faults.py",
    "services/storefront/tests/test_storefront_recommendations.py",
    "services/storefront/tests/test_storefront_checkout.py",
    "services/recommendation/tests/test_recommendation_choosing.py",
    "services/town/tests/test_town.py",
    "services/notification/tests/test_notification_events.py",
    "k8s/operator/tests/test_render.py",
    "services/order/tests/test_order_crashes.py",
    "services/recommendation/tests/test_model_properties.py",
    "services/kit/tests/test_outbox_inbox.py",
    "k8s/operator/tests/test_render_parity.py",
    "services/delivery/tests/test_delivery_work.py",
    "services/kit/tests/test_grpc_process.py",
    "services/kit/tests/test_registry.py",
    "services/kit/tests/test_balanced_calls.py",
    "tests/integration/test_faults.py",
    "tests/integration/test_food.py",
    "tests/integration/test_arcade.py",
    "tests/integration/test_races.py",
    "tests/e2e/test_storefront_browser.py",
    "tests/contracts/test_openapi_fuzz.py",
    "k8s/operator/tests/test_shopctl_shop.py",
    "tests/telemetry/test_metrics_of_a_shop.py",
    "tests/telemetry/test_dashboards_of_a_shop.py",
    "services/storefront/tests/test_storefront_stack.py",
    "services/storefront/tests/test_storefront_arcade_in_browser.py",
    "services/storefront/tests/test_storefront_live_failures.py",
    "services/storefront/tests/test_storefront_food_in_browser.py",
    "services/storefront/tests/test_storefront_in_browser.py",
    "tests/integration/test_full_disk.py",
    "services/storefront/tests/test_storefront_recommendations_in_browser.py",
    "services/storefront/tests/test_storefront_live.py",
    "services/storefront/tests/test_storefront_stack_rules.py",
)
"""Those that take longest by the JUnit reports of `make test`, longest first within each phase; the rest goes by the
number of tests."""
SHOP, TRACED_SHOP, RENDERS, TREES = "a whole shop", "a shop with traces", "renders of the charts", "syntax trees"
TOGETHER = {
    "tests/charts/test_helm_test.py": SHOP,
    "tests/e2e/": SHOP,
    "tests/integration/test_arcade.py": SHOP,
    "tests/integration/test_backup_shop.py": SHOP,
    "tests/integration/test_bad_input.py": SHOP,
    "tests/integration/test_every_service.py": SHOP,
    "tests/integration/test_faults.py": SHOP,
    "tests/integration/test_food.py": SHOP,
    "tests/integration/test_food_streams.py": SHOP,
    "tests/integration/test_live_modules.py": SHOP,
    "tests/integration/test_races.py": SHOP,
    "tests/integration/test_reads.py": SHOP,
    "tests/integration/test_scaling.py": SHOP,
    "tests/integration/test_simulated_fleet.py": SHOP,
    "tests/integration/test_tutorial.py": SHOP,
    "tests/telemetry/test_dashboards_of_a_shop.py": TRACED_SHOP,
    "tests/telemetry/test_live_alerts.py": TRACED_SHOP,
    "tests/telemetry/test_logs_of_a_shop.py": TRACED_SHOP,
    "tests/telemetry/test_metrics_of_a_shop.py": TRACED_SHOP,
    "tests/telemetry/test_no_personal_data.py": TRACED_SHOP,
    "tests/telemetry/test_one_trace.py": TRACED_SHOP,
    "tests/telemetry/test_runbooks.py": TRACED_SHOP,
    "tests/charts/": RENDERS,
    "tests/architecture/test_boundaries.py": TREES,
    "tests/architecture/test_package_diagram.py": TREES,
    "tests/architecture/test_size.py": TREES,
}
"""Files by the beginnings of their paths, the first that fits, and what they share."""


def scope(nodeid: str) -> str:
    """What the test runs together with: its file, or those of `TOGETHER`."""
    file = nodeid.partition("::")[0]
    return next((shared for path, shared in TOGETHER.items() if file.startswith(path)), file)


class Scheduling(LoadFileScheduling):
    """By `scope` instead of by file."""

    def _split_scope(self, nodeid: str) -> str:
        return scope(nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Scheduling:
    return Scheduling(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every worker comes to the same order, as xdist asks for."""
    rank = {path: number for number, path in enumerate(in_order(Counter(item.path for item in items)))}
    items.sort(key=lambda item: rank[item.path])


def in_order(tests_in: Mapping[Path, int]) -> list[Path]:
    """Files: `LONGEST` in their order, then those with the most tests."""
    slow = {ROOT / name: number for number, name in enumerate(LONGEST)}
    return sorted(tests_in, key=lambda path: (slow.get(path, len(slow)), -tests_in[path], path))
