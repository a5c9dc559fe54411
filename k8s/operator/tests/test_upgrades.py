"""Who gets a new version of the operator next, and the maintenance windows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from shop.operator.engine.reconcile.target import DesiredState, read
from shop.operator.engine.reconcile.upgrades import STOPPED, WAITING, Upgrades
from shop.operator.engine.settings import Settings
from shop.operator.engine.status.shop_view import Basis, ShopView
from shop.operator.kube.objects import CANARY, NamespacedName, Object
from shop.operator.resource.spec import ShopSpec
from shop.operator.resource.spec_window import MaintenanceWindow

RELEASE = "0.2.0-aaaa"
NOW = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)  # a Saturday


def key(name: str) -> NamespacedName:
    return NamespacedName("shops", name)


def shop(status: Object | None = None, *, canary: bool = False, **spec: Any) -> Object:
    labels = {CANARY: "true"} if canary else {}
    return {"metadata": {"labels": labels}, "spec": spec, "status": {"revision": 1, **(status or {})}}


def rolling(progressing: str = "True", **rollout: Any) -> Object:
    conditions = [{"type": "Progressing", "status": progressing}]
    return {"rollout": {"release": RELEASE, **rollout}, "conditions": conditions}


def ready(since: datetime, release: str = RELEASE) -> Object:
    conditions = [{"type": "Ready", "status": "True", "lastTransitionTime": since.isoformat()}]
    return {"release": release, "conditions": conditions}


FAILED = {"failure": {"release": RELEASE}}


class Queue:
    """Upgrades, and the Shops that they rolled back."""

    def __init__(self, **limits: Any) -> None:
        self.woken: list[str] = []
        settings = Settings(**{f"upgrade_{name}": limit for name, limit in limits.items()})
        self.upgrades = Upgrades(RELEASE, settings, lambda key: self.woken.append(key.name))

    def see(self, name: str, found: Object | None) -> None:
        self.upgrades.see(key(name), found)

    def ask(self, name: str, window: MaintenanceWindow | None = None) -> str:
        wait = self.upgrades.ask(key(name), window)
        return wait.reason if wait else ""

    def passed(self, name: str, *, waits: bool = False) -> None:
        self.upgrades.passed(key(name), waits=waits)


def test_what_was_admitted_counts_before_it_is_written_down() -> None:
    queue = Queue(at_once=2)
    assert [queue.ask(name) for name in "abc"] == ["", "", WAITING]


def test_free_slots_are_given_to_as_many_shops() -> None:
    queue = Queue(at_once=1)
    assert queue.ask("a") == ""
    queue.see("a", shop(rolling()))
    queue.passed("a")
    assert [queue.ask(name) for name in "dcb"] == [WAITING] * 3
    assert queue.woken == []
    queue.see("a", shop(ready(NOW)))
    assert queue.woken == ["b"]


def test_a_reconcile_that_started_no_rollout_gives_its_slot_back() -> None:
    queue = Queue(at_once=1)
    assert [queue.ask("a"), queue.ask("b")] == ["", WAITING]
    queue.passed("a")
    assert queue.woken == ["b"]
    assert queue.ask("b") == ""


@pytest.mark.parametrize(
    ("found", "stops"),
    [
        (shop(FAILED), True),
        (shop(rolling("False")), True),
        (shop(rolling(failedBefore=True)), True),
        (shop(rolling()), False),
        (shop({"failure": {"release": "0.1.0-bbbb"}}), False),
        (shop(FAILED, suspend=True), False),
        (None, False),
    ],
    ids=["rolled back", "stays", "tried again", "under way", "an older one", "suspended", "gone"],
)
def test_what_counts_as_a_failure_of_this_release(found: Object | None, *, stops: bool) -> None:
    queue = Queue()
    queue.see("a", found)
    assert queue.ask("b") == (STOPPED if stops else "")
    assert queue.upgrades.stopped is stops


def test_all_that_wait_are_brought_back_when_the_failure_is_healed() -> None:
    queue = Queue(max_failures=2)
    queue.see("x", shop(FAILED))
    assert queue.ask("a") == ""
    queue.see("y", shop(FAILED))
    assert [queue.ask(name) for name in "bc"] == [STOPPED] * 2
    queue.see("y", shop(rolling(failedBefore=True)))
    assert queue.woken == []
    queue.see("y", shop(ready(NOW)))
    assert queue.woken == ["b", "c"]


def test_the_others_follow_when_every_canary_has_been_ready_for_long_enough() -> None:
    now = datetime.now(UTC)
    queue = Queue(canary_ready_s=60)
    queue.see("new", shop({"revision": 0}, canary=True))
    queue.see("x", shop(ready(now, "0.1.0-bbbb"), canary=True))
    assert [queue.ask("a"), queue.ask("x")] == [WAITING, ""]
    queue.see("x", shop(ready(now), canary=True))
    assert queue.woken == ["a"]
    wait = queue.upgrades.ask(key("a"), None)
    assert wait is not None
    assert wait.again_s == pytest.approx(60, abs=10)
    queue.see("x", shop(ready(now - timedelta(seconds=61)), canary=True))
    assert queue.ask("a") == ""


def test_a_shops_own_window_goes_before_the_operators() -> None:
    later = datetime.now(UTC) + timedelta(days=2)
    day = later.strftime("%a")
    queue = Queue(window=MaintenanceWindow.model_validate({"days": [day]}))
    assert queue.ask("a") == WAITING
    assert queue.ask("b", MaintenanceWindow()) == ""


@pytest.mark.parametrize(
    ("window", "hours"),
    [
        ({}, 0),
        ({"days": ["Sat"]}, 0),
        ({"days": ["Sun"]}, 12),
        ({"start": "12:00", "end": "13:00"}, 0),
        ({"start": "11:00", "end": "12:00"}, 23),
        ({"days": ["Fri"], "start": "22:00", "end": "13:00"}, 0),
        ({"days": ["Sat"], "start": "11:00", "end": "12:00"}, 7 * 24 - 1),
        ({"start": "13:00", "end": "14:00", "timeZone": "Europe/Berlin"}, 0),
        ({"start": "12:00", "end": "13:00", "timeZone": "Europe/Berlin"}, 23),
        ({"days": ["Mon"], "timeZone": "Asia/Tokyo"}, 27),
    ],
)
def test_windows(window: Object, hours: float) -> None:
    assert MaintenanceWindow.model_validate(window).opens_in(NOW) == timedelta(hours=hours)


def test_a_window_keeps_its_hours_when_the_clocks_change() -> None:
    window = MaintenanceWindow.model_validate({"start": "04:00", "end": "05:00", "timeZone": "Europe/Berlin"})
    before = datetime(2026, 10, 24, 22, 0, tzinfo=UTC)  # midnight in Berlin; at 3:00 it is 2:00 again
    assert window.opens_in(before) == timedelta(hours=5)


@pytest.mark.parametrize("wrong", [{"days": []}, {"start": "24:00"}, {"timeZone": "Mars/Base"}, {"days": ["Someday"]}])
def test_what_is_no_window_is_refused(wrong: Object) -> None:
    with pytest.raises(ValidationError):
        MaintenanceWindow.model_validate(wrong)


def basis(generation: int, retry: str = "", **spec: Any) -> Basis:
    return Basis.of(generation, ShopSpec.model_validate(spec), retry)


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (basis(1, store={"title": "A"}), True),
        (basis(2), True),
        (basis(2, suspend=True, maintenanceWindow={"days": ["Sat"]}), True),
        (basis(2, services={"order": {"replicas": 2}}), False),
        (basis(1, "again"), False),
    ],
    ids=["a new default", "nothing", "only how", "an object", "asked again"],
)
def test_a_change_is_the_users_or_the_operators(other: Basis, *, same: bool) -> None:
    assert basis(1).same(other) is same
    assert Basis.read(other.as_json()) == other


def view(**status: Any) -> ShopView:
    """A Shop at its second generation whose first revision became healthy."""
    meta = {"namespace": "shops", "name": "a", "uid": "1", "generation": 2, "resourceVersion": "7"}
    applied = {"revision": 1, "lastAppliedHash": "applied", "basis": basis(2).as_json()}
    return ShopView.of({"metadata": meta, "spec": {}, "status": {**applied, **status}})


def rollout_to(hash_: str) -> Object:
    return {"revision": 2, "hash": hash_, "startedAt": "2026-11-28T12:00:00Z"}


def failed_at(hash_: str, of: Basis) -> Object:
    return {"revision": 2, "hash": hash_, "reason": "BackoffLimitExceeded", "message": "", "basis": of.as_json()}


USERS = basis(1, services={"order": {"replicas": 2}}).as_json()


@pytest.mark.parametrize(
    ("found", "waits"),
    [
        (view(), True),
        (view(rollout=rollout_to("applied")), True),
        (view(failure=failed_at("other", basis(2)), basis=USERS), True),
        (view(basis=None, observedGeneration=2), True),
        (view(basis=USERS), False),
        (view(basis=basis(2, "asked for before").as_json()), False),
        (view(basis=None, observedGeneration=1), False),
        (view(lastAppliedHash=""), False),
        (view(lastAppliedHash="asked for"), False),
        (view(rollout=rollout_to("asked for")), False),
        (view(failure=failed_at("asked for", basis(2))), False),
    ],
    ids=[
        "the operator's change",
        "on the way back",
        "the spec failed before",
        "of an earlier operator",
        "the user's change",
        "asked to try again",
        "changed since an earlier operator's last look",
        "first revision",
        "nothing to roll out",
        "begun",
        "failed and given up",
    ],
)
def test_only_the_operators_own_change_may_have_to_wait(found: ShopView, *, waits: bool) -> None:
    assert DesiredState(read(found), b"", "asked for", basis(2)).may_have_to_wait(found) is waits
