"""What is removed by age is found by an index: a table that has grown for years is neither read nor sorted for it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from shop.delivery import retention_repository as delivery
from shop.devkit.testing import DatabaseFor
from shop.kit.retention import Rule
from shop.notification import retention_repository as notification
from shop.order import retention_repository as order
from shop.restaurant import retention_repository as restaurant

KEEP = timedelta(days=90)
RULES = {
    "delivery": delivery.rules(KEEP),
    "notification": notification.rules(KEEP),
    "order": [order.rule(KEEP)],
    "restaurant": [restaurant.rule(KEEP)],
}


def rules() -> Iterator[tuple[str, Rule]]:
    for noun, found in RULES.items():
        yield from ((noun, rule) for rule in found)


@pytest.mark.parametrize(
    ("noun", "rule"), [pytest.param(noun, rule, id=f"{noun} {rule.name}") for noun, rule in rules()]
)
async def test_what_is_due_is_found_by_an_index(database_for: DatabaseFor, noun: str, rule: Rule) -> None:
    connection = await asyncpg.connect(await database_for(noun))
    try:
        await connection.execute("SET enable_seqscan = off; SET enable_sort = off; SET enable_hashagg = off")
        plan = "\n".join(row[0] for row in await connection.fetch(f"EXPLAIN {rule.statement}", datetime.now(UTC)))
    finally:
        await connection.close()
    assert "Seq Scan" not in plan, plan
    assert "Sort" not in plan, plan
