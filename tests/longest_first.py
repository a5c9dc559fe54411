"""Order of the test files for several workers: those that take longest begin, so that none is left at the end.

As a plugin of pytest: `pytest -p tests.longest_first --no-loadscope-reorder`. xdist alone goes by the number of tests.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LONGEST = (
    "tests/operator/test_kills.py",
    "tests/operator/test_revisions.py",
    "tests/operator/test_kills_back.py",
    "tests/architecture/test_new_service.py",
    "services/order/tests/test_order_faults.py",
    "services/delivery/tests/test_delivery_sequences.py",
    "services/storefront/tests/test_storefront_checkout.py",
    "services/recommendation/tests/test_recommendation_choosing.py",
    "services/kit/tests/test_grpc_balancing.py",
    "services/kit/tests/test_grpc_faults.py",
    "k8s/operator/tests/test_audit_oracles.py",
    "tests/integration/test_backup_scripts.py",
    "k8s/operator/tests/test_render_parity.py",
    "services/kit/tests/test_outbox_inbox.py",
    "services/notification/tests/test_notification_events.py",
    "tests/integration/test_pgbouncer.py",
    "services/devkit/tests/test_embedded_servers.py",
    "tests/contracts/test_order_participants.py",
    "tests/integration/test_faults.py",
    "tests/integration/test_food.py",
    "services/storefront/tests/test_storefront_in_browser.py",
    "services/storefront/tests/test_storefront_food_in_browser.py",
    "services/storefront/tests/test_storefront_live_failures.py",
    "k8s/operator/tests/test_shopctl_shop.py",
    "tests/integration/test_simulated_fleet.py",
    "tests/e2e/test_storefront_browser.py",
    "tests/e2e/test_food_browser.py",
    "tests/contracts/test_openapi_fuzz.py",
    "tests/integration/test_every_service.py",
    "tests/integration/test_backup_shop.py",
)
"""Few tests in them, but each takes long: a service made and tested, time-outs waited for, servers started."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Every worker comes to the same order, as xdist asks for."""
    rank = {path: number for number, path in enumerate(in_order(Counter(item.path for item in items)))}
    items.sort(key=lambda item: rank[item.path])


def in_order(tests_in: Mapping[Path, int]) -> list[Path]:
    """Files: `LONGEST` in their order, then those with the most tests."""
    slow = {ROOT / name: number for number, name in enumerate(LONGEST)}
    return sorted(tests_in, key=lambda path: (slow.get(path, len(slow)), -tests_in[path], path))
