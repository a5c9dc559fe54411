"""A test whose audit was not clean says which oracle failed, and distinguishes late from broken."""

from __future__ import annotations

from typing import Any

import pytest

from tests.audit_report import MAX_VIOLATIONS, assert_holds


def report(late: tuple[str, ...] = (), violations: int = 0, checked: int = 3) -> dict[str, Any]:
    details = {f"order-{number}": "was charged twice" for number in range(violations)}
    oracles = [
        {"number": 5, "name": "stock is never negative", "ok": True, "checked": 0, "violations": [], "details": {}},
        {
            "number": 6,
            "name": "one capture",
            "ok": not violations,
            "checked": checked,
            "violations": list(details),
            "details": details,
        },
    ]
    return {"ok": not late and not violations, "late": list(late), "oracles": oracles}


def test_a_clean_report_holds() -> None:
    assert_holds(report())


def test_a_failed_oracle_is_named_with_its_violations() -> None:
    with pytest.raises(AssertionError) as failure:
        assert_holds(report(violations=MAX_VIOLATIONS + 2))
    assert "oracle 6 (one capture):\n    order-0 was charged twice\n" in str(failure.value)
    assert "and 2 more" in str(failure.value)
    assert "stock" not in str(failure.value)


def test_what_is_late_is_no_failed_oracle() -> None:
    with pytest.raises(AssertionError, match=r"late, not broken: 2 sagas that are not done \(a, b\)"):
        assert_holds(report(late=("2 sagas that are not done (a, b)",)))


def test_an_audit_of_nothing_proves_nothing() -> None:
    with pytest.raises(AssertionError, match="nothing to check"):
        assert_holds(report(checked=0))
