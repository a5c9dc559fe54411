"""The status of a Shop in a cluster: as text, as JSON, and the exit code."""

from datetime import UTC, datetime
from typing import Any

import pytest

from shop.operator.cluster.overview import Overview, age
from shop.operator.engine.status.pods import PodProblem

NOW = datetime(2026, 11, 22, 8, 0, tzinfo=UTC)


def condition(kind: str, status: str, reason: str = "Why", message: str = "", generation: int = 3) -> dict[str, Any]:
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message,
        "observedGeneration": generation,
        "lastTransitionTime": "2026-11-22T07:55:00Z",
    }


def shop(*conditions: dict[str, Any], generation: int = 3, suspend: bool = False) -> dict[str, Any]:
    status = {
        "observedGeneration": 3,
        "conditions": list(conditions),
        "url": "https://books.example.com",
        "version": "0.2.0",
        "revision": 4,
        "services": [{"name": "order", "ready": 1, "desired": 2, "image": "registry/shop-order:0.2.0"}],
    }
    metadata = {"name": "bookshop", "namespace": "books", "generation": generation, "uid": "u"}
    return {"metadata": metadata, "spec": {"suspend": suspend}, "status": status}


def event(time: str, message: str, count: int = 1, **more: Any) -> dict[str, Any]:
    return {
        "metadata": {},
        "lastTimestamp": time,
        "type": "Normal",
        "reason": "R",
        "message": message,
        "count": count,
    } | more


def test_the_text_has_conditions_services_problems_and_events() -> None:
    trouble = PodProblem("ImagePullBackOff", "Deployment bookshop-order: pod p: ImagePullBackOff", pod="p")
    unready = condition("Ready", "False", "ImagePullBackOff", "Deployment bookshop-order:\n  pod p")
    found = Overview(shop(unready), [trouble], [event("2026-11-22T07:58:30Z", "Rolled out revision 4.", 3)]).text(NOW)
    assert found.splitlines() == [
        "bookshop in namespace books: Not ready: Deployment bookshop-order: pod p",
        "https://books.example.com  version 0.2.0  revision 4",
        "",
        "CONDITION  STATUS  REASON            SINCE  MESSAGE",
        "Ready      False   ImagePullBackOff  5m     Deployment bookshop-order: pod p",
        "",
        "SERVICE  READY  IMAGE",
        "order    1/2    registry/shop-order:0.2.0",
        "",
        "TROUBLE",
        "Deployment bookshop-order: pod p: ImagePullBackOff",
        "",
        "LAST SEEN  TYPE    REASON  EVENT",
        "90s        Normal  R       Rolled out revision 4. (3 times)",
    ]


@pytest.mark.parametrize(
    ("found", "ready"),
    [
        (shop(condition("Ready", "True")), True),
        (shop(condition("Ready", "False")), False),
        (shop(condition("Ready", "Unknown")), False),
        (shop(condition("Ready", "True"), generation=4), False),
        (shop(condition("Ready", "True"), generation=4, suspend=True), True),
        (shop(), False),
        ({"metadata": {"name": "new", "namespace": "n", "generation": 1}, "spec": {}}, False),
    ],
)
def test_ready_is_about_the_present_spec(found: dict[str, Any], ready: bool) -> None:
    overview = Overview(found, [], [])
    assert (overview.ready, overview.document()["ready"]) == (ready, ready)


def test_a_change_that_no_operator_has_observed_is_reported() -> None:
    assert "has not seen the latest change" in Overview(shop(condition("Ready", "True"), generation=4), [], []).text(
        NOW
    )
    assert "has not seen the latest change" not in Overview(shop(condition("Ready", "True")), [], []).text(NOW)


def test_a_shop_without_a_status_can_be_shown() -> None:
    new = {"metadata": {"name": "new", "namespace": "n", "generation": 1}, "spec": {}}
    assert Overview(new, [], []).text(NOW).splitlines()[0] == "new in namespace n: New: the operator has not seen it"


def test_the_newest_events_are_kept_whatever_field_holds_their_time() -> None:
    events = [event(f"2026-11-22T07:{minute:02}:00Z", f"at {minute}") for minute in range(30)]
    events += [{"metadata": {}, "eventTime": "2026-11-22T07:59:00.000000Z", "lastTimestamp": None, "message": "last"}]
    found = Overview(shop(), [], events).document()["events"]
    assert [one["message"] for one in found] == [*(f"at {minute}" for minute in range(21, 30)), "last"]


@pytest.mark.parametrize(
    ("time", "shown"),
    [
        ("2026-11-22T07:59:58Z", "2s"),
        ("2026-11-22T07:58:01Z", "119s"),
        ("2026-11-22T07:57:00Z", "3m"),
        ("2026-11-22T03:00:00Z", "5h"),
        ("2026-11-01T03:00:00Z", "21d"),
        ("2026-11-22T09:00:00Z", "0s"),
        ("", "-"),
    ],
)
def test_an_age_has_a_fitting_unit(time: str, shown: str) -> None:
    assert age(time, NOW) == shown
