"""The five conditions: what each state of affairs is called, and that nothing is written when nothing changes."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shop.operator.cluster.overview import summary
from shop.operator.engine.status.conditions import MESSAGE_CHARS, TYPES, Condition, Facts, conditions, with_pod_cause
from shop.operator.engine.status.pods import PodProblem
from tests.operator.statuses import settled

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)
WAITING = "Deployment bookshop-order: 0 of 1 pod available"
PULL = PodProblem(
    "ImagePullBackOff",
    "Deployment bookshop-order: pod bookshop-order-7c9-x: container migrate: ImagePullBackOff: not found",
    owner="Deployment bookshop-order",
    pod="bookshop-order-7c9-x",
)
NO_NODE = PodProblem(
    "Unschedulable",
    "StatefulSet bookshop-postgres: pod bookshop-postgres-0: Unschedulable: 3 Insufficient cpu",
    owner="StatefulSet bookshop-postgres",
    pod="bookshop-postgres-0",
)
NEVER = PodProblem(
    "ErrImageNeverPull", "Job z: pod z-1: container z: ErrImageNeverPull", fatal=True, owner="Job z", pod="z-1"
)
FIRST = f"Revision 1, services: {WAITING}"
UPGRADE = f"Revision 2, services: {WAITING}"
BACK = "Revision 1, stores"
FAILED = ("DeadlineExceeded", "Revision 2 was given up: not healthy within 600 s")
MISSING = ("SecretMissing", 'database.secretName: there is no Secret "db" in namespace shops')
SERVING = Facts(2, serving=True)

READY_TABLE: list[tuple[str, Facts, str, str]] = [
    ("new", Facts(1), "False/Installing", "True/Installing"),
    ("starts", Facts(1, rolling=FIRST), "False/Installing", "True/Installing"),
    ("does not start", Facts(1, rolling=FIRST, pod_problems=(PULL,)), "False/ImagePullBackOff", "True/Installing"),
    ("stands", SERVING, "True/AllReady", "False/Complete"),
    ("is upgraded", replace(SERVING, rolling=UPGRADE), "Unknown/RollingOut", "True/RollingOut"),
    (
        "upgrade with problems",
        replace(SERVING, rolling=UPGRADE, pod_problems=(PULL,)),
        "Unknown/RollingOut",
        "True/RollingOut",
    ),
    (
        "upgrade that restarts a part",
        replace(SERVING, rolling=UPGRADE, unready=(WAITING,)),
        "Unknown/RollingOut",
        "True/RollingOut",
    ),
    (
        "upgrade that took a part away",
        replace(SERVING, rolling=UPGRADE, unready=(WAITING,), pod_problems=(PULL,)),
        "False/ImagePullBackOff",
        "True/RollingOut",
    ),
    (
        "goes back",
        replace(SERVING, rolling=BACK, failed=FAILED, rolled_back_to=1),
        "False/RollingBack",
        "True/RollingBack",
    ),
    (
        "failed and is not taken back",
        replace(SERVING, rolling=UPGRADE, failed=FAILED),
        "False/DeadlineExceeded",
        "False/DeadlineExceeded",
    ),
    (
        "failed at first, and is retried",
        Facts(1, rolling=FIRST, failed=FAILED, pod_problems=(PULL,)),
        "False/DeadlineExceeded",
        "False/DeadlineExceeded",
    ),
    ("went back", replace(SERVING, failed=FAILED, rolled_back_to=1), "False/RolledBack", "False/RolledBack"),
    ("failed, no way back", Facts(1, failed=FAILED), "False/DeadlineExceeded", "False/DeadlineExceeded"),
    ("lost a part", replace(SERVING, unready=(WAITING,)), "False/NotReady", "False/Complete"),
    (
        "lost a part, and why",
        replace(SERVING, unready=(WAITING,), pod_problems=(PULL,)),
        "False/ImagePullBackOff",
        "False/Complete",
    ),
    (
        "cannot be read",
        replace(SERVING, blocked=("InvalidSpec", "store.currency: unknown")),
        "False/InvalidSpec",
        "False/InvalidSpec",
    ),
    ("something is missing", replace(SERVING, blocked=MISSING), "False/SecretMissing", "False/SecretMissing"),
    ("missing from the start", Facts(1, blocked=MISSING), "False/SecretMissing", "False/SecretMissing"),
    (
        "missing during a rollout",
        replace(SERVING, rolling=UPGRADE, blocked=MISSING),
        "False/SecretMissing",
        "False/SecretMissing",
    ),
    ("paused", replace(SERVING, paused=True), "True/AllReady", "False/Paused"),
    ("paused from the start", Facts(1, paused=True), "False/Paused", "False/Paused"),
    ("paused, a part is down", replace(SERVING, paused=True, unready=(WAITING,)), "False/NotReady", "False/Paused"),
    ("is deleted", replace(SERVING, deleting="Job a is being deleted"), "False/Deleting", "True/Deleting"),
    (
        "is deleted in any state",
        replace(SERVING, deleting="Job a goes", blocked=MISSING, failed=FAILED),
        "False/Deleting",
        "True/Deleting",
    ),
]


def by_type(found: list[Condition]) -> dict[str, Condition]:
    return {condition["type"]: condition for condition in found}


def made(facts: Facts, previous: list[Condition] | None = None, now: datetime = NOW) -> dict[str, Condition]:
    return by_type(conditions(previous or [], facts, now))


def short(condition: Condition) -> str:
    return f"{condition['status']}/{condition['reason']}"


@pytest.mark.parametrize(
    ("facts", "ready", "progressing"), [row[1:] for row in READY_TABLE], ids=[row[0] for row in READY_TABLE]
)
def test_ready_and_progressing(facts: Facts, ready: str, progressing: str) -> None:
    found = made(facts)
    assert (short(found["Ready"]), short(found["Progressing"])) == (ready, progressing)


@pytest.mark.parametrize(
    ("facts", "degraded"),
    [
        (Facts(1), "False/AsExpected"),
        (SERVING, "False/AsExpected"),
        (replace(SERVING, rolling=UPGRADE), "False/AsExpected"),
        (replace(SERVING, rolling=UPGRADE, unready=(WAITING,)), "False/AsExpected"),
        (Facts(1, rolling=FIRST, pod_problems=(PULL,)), "True/ImagePullBackOff"),
        (replace(SERVING, rolling=UPGRADE, pod_problems=(NO_NODE,)), "True/Unschedulable"),
        (replace(SERVING, unready=(WAITING,)), "True/NotReady"),
        (replace(SERVING, failed=FAILED, rolled_back_to=1), "True/RolledBack"),
        (replace(SERVING, blocked=MISSING), "True/SecretMissing"),
        (replace(SERVING, blocked=("InvalidSpec", "x")), "True/InvalidSpec"),
        (replace(SERVING, deleting="x", unready=(WAITING,)), "False/AsExpected"),
    ],
)
def test_degraded(facts: Facts, degraded: str) -> None:
    assert short(made(facts)["Degraded"]) == degraded


def test_the_message_names_the_pod_and_its_reason() -> None:
    found = made(Facts(1, rolling=FIRST, pod_problems=(PULL,)))
    assert PULL.message in found["Ready"]["message"]
    assert PULL.message in found["Degraded"]["message"]
    assert found["Progressing"]["message"] == f"Revision 1, services: {WAITING}."


def test_an_upgrade_with_problems_says_that_the_old_revision_serves() -> None:
    message = made(replace(SERVING, rolling=UPGRADE, pod_problems=(PULL,)))["Ready"]["message"]
    assert PULL.message in message
    assert message.endswith("What served before goes on.")


def test_an_upgrade_that_restarts_a_part_does_not_claim_that_it_serves() -> None:
    restarting = replace(SERVING, rolling=UPGRADE, unready=("StatefulSet bookshop-postgres: 0 of 1 pod ready",))
    message = made(restarting)["Ready"]["message"]
    assert message == f"Revision 2, services: {WAITING}. StatefulSet bookshop-postgres: 0 of 1 pod ready."


def test_a_cause_is_reported_with_what_it_is_the_cause_of() -> None:
    failed = "Deployment bookshop-order: exceeded its progress deadline"
    pod = "pod bookshop-order-7c9-x: container migrate: ImagePullBackOff: not found"
    assert with_pod_cause(failed, (NO_NODE, PULL)) == f"{failed} ({pod})"
    assert with_pod_cause(failed, (NO_NODE,)) == failed
    assert with_pod_cause(WAITING, ()) == WAITING


def test_a_failure_is_reported_with_the_problems_that_it_does_not_name() -> None:
    facts = Facts(
        1, rolling=FIRST, failed=("DeadlineExceeded", with_pod_cause(WAITING, (PULL,))), pod_problems=(PULL, NO_NODE)
    )
    message = made(facts)["Ready"]["message"]
    assert message == f"{with_pod_cause(WAITING, (PULL,))}. {NO_NODE.message}."


def test_a_rollback_under_way_says_why_and_where_it_stands() -> None:
    back = replace(SERVING, rolling="Revision 1 begins", failed=FAILED, rolled_back_to=1)
    assert made(back)["Ready"]["message"] == f"{FAILED[1]}. Revision 1 begins."


def test_a_rollback_says_why_and_what_serves() -> None:
    found = made(replace(SERVING, failed=FAILED, rolled_back_to=1))
    assert found["Ready"]["message"] == f"Revision 1 serves again. {FAILED[1]}."
    assert found["Degraded"]["message"] == found["Ready"]["message"]


def test_what_blocks_a_shop_is_reported_with_what_still_serves() -> None:
    assert (
        made(replace(SERVING, blocked=MISSING))["Ready"]["message"] == f"{MISSING[1]}. What was applied before goes on."
    )
    assert made(Facts(1, blocked=MISSING))["Ready"]["message"] == f"{MISSING[1]}."
    message = made(replace(SERVING, blocked=MISSING, unready=(WAITING,)))["Ready"]["message"]
    assert message == f"{MISSING[1]}. {WAITING}."


def test_problems_are_reported_once_for_each_owner_fatal_ones_first() -> None:
    second = replace(PULL, message=PULL.message.replace("-x:", "-y:"), pod="bookshop-order-7c9-y")
    found = made(replace(SERVING, unready=(WAITING, "Service a: gone"), pod_problems=(second, NO_NODE, PULL, NEVER)))
    message = found["Degraded"]["message"]
    assert found["Degraded"]["reason"] == "ErrImageNeverPull"
    assert message == f"{NEVER.message}. {PULL.message}. {NO_NODE.message}. Service a: gone."


def test_of_many_problems_some_are_reported_and_the_rest_is_counted() -> None:
    many = tuple(replace(PULL, owner=f"Deployment {name}", message=f"Deployment {name}: bad") for name in "abcdef")
    message = made(replace(SERVING, pod_problems=many))["Degraded"]["message"]
    assert message == "Deployment a: bad. Deployment b: bad. Deployment c: bad. 3 more of its parts have such problems."


def test_drift_is_reported_while_it_is_repaired_and_remembered_after() -> None:
    drifted = made(replace(SERVING, drift=("Service b: spec.ports", "Deployment a was deleted")))
    assert short(drifted["Drifted"]) == "True/Repairing"
    assert drifted["Drifted"]["message"] == "Deployment a was deleted. Service b: spec.ports."
    assert short(drifted["Ready"]) == "True/AllReady"
    after = made(SERVING, list(drifted.values()), LATER)["Drifted"]
    assert short(after) == "False/Repaired"
    assert after["message"] == "Last repaired: Deployment a was deleted. Service b: spec.ports."
    assert after["lastTransitionTime"] == "2026-01-02T04:04:05Z"
    assert made(SERVING, [after], LATER + timedelta(hours=1))["Drifted"] == after
    again = made(replace(SERVING, drift=("Job c was deleted",)), [after], LATER)["Drifted"]
    assert (short(again), again["message"]) == ("True/Repairing", "Job c was deleted.")


def test_the_time_moves_only_with_the_status() -> None:
    first = made(replace(SERVING, rolling=UPGRADE))
    moved = replace(SERVING, rolling=f"Revision 2, routes: {WAITING}")
    second = made(moved, list(first.values()), LATER)
    assert second["Progressing"]["message"] != first["Progressing"]["message"]
    assert all(second[kind]["lastTransitionTime"] == "2026-01-02T03:04:05Z" for kind in TYPES)
    third = made(SERVING, list(second.values()), LATER)
    changed = {kind for kind in TYPES if third[kind]["lastTransitionTime"] == "2026-01-02T04:04:05Z"}
    assert changed == {"Ready", "Progressing"}


def test_times_are_utc() -> None:
    here = NOW.astimezone(timezone(timedelta(hours=5, minutes=30)))
    assert made(SERVING, now=here)["Ready"]["lastTransitionTime"] == "2026-01-02T03:04:05Z"


def test_conditions_have_a_fixed_order() -> None:
    before = [
        *reversed(conditions([], SERVING, NOW)),
        {"type": "Other", "status": "True", "reason": "X", "message": ""},
    ]
    assert [condition["type"] for condition in conditions(before, SERVING, LATER)] == list(TYPES)


def test_while_paused_ready_stays_with_the_generation_that_was_applied() -> None:
    """kubectl wait skips a condition older than the object: a new spec that is not applied is not Ready."""
    before = list(made(replace(SERVING, generation=4)).values())
    found = made(replace(SERVING, generation=5, paused=True), before)
    assert (short(found["Ready"]), found["Ready"]["observedGeneration"]) == ("True/AllReady", 4)
    assert (short(found["Paused"]), found["Paused"]["observedGeneration"]) == ("True/Suspended", 5)
    down = made(replace(SERVING, generation=6, paused=True, unready=(WAITING,)), list(found.values()))
    assert (short(down["Ready"]), down["Ready"]["observedGeneration"]) == ("False/NotReady", 4)
    resumed = made(replace(SERVING, generation=7), list(down.values()))
    assert (short(resumed["Ready"]), resumed["Ready"]["observedGeneration"]) == ("True/AllReady", 7)


def test_a_message_is_as_long_as_a_status_takes() -> None:
    found = made(replace(SERVING, unready=("Deployment a: " + "x" * 5_000,)))
    assert len(found["Ready"]["message"]) == MESSAGE_CHARS
    assert found["Ready"]["message"].endswith("…")


@pytest.mark.parametrize(
    ("facts", "generation", "answer"),
    [
        (SERVING, 2, True),
        (SERVING, 3, False),
        (replace(SERVING, rolling=UPGRADE), 2, False),
        (replace(SERVING, failed=FAILED, rolled_back_to=1), 2, True),
        (replace(SERVING, blocked=MISSING), 2, True),
        (replace(SERVING, paused=True), 2, True),
        (replace(SERVING, deleting="x"), 2, False),
        (Facts(2), 2, False),
    ],
)
def test_settled(facts: Facts, generation: int, answer: bool) -> None:
    assert settled(conditions([], facts, NOW), generation) is answer


def test_a_shop_without_a_status_is_not_settled() -> None:
    assert not settled([], 1)


@pytest.mark.parametrize(
    ("facts", "line"),
    [
        (SERVING, "Ready"),
        (Facts(1), "Installing: Nothing has been applied yet."),
        (Facts(1, rolling=FIRST), f"Installing: Revision 1, services: {WAITING}."),
        (
            replace(SERVING, rolling=UPGRADE),
            f"Rolling out: Revision 2, services: {WAITING}. What served before goes on.",
        ),
        (replace(SERVING, rolling=UPGRADE, pod_problems=(PULL,)), f"Rolling out (ImagePullBackOff): {PULL.message}."),
        (replace(SERVING, unready=(WAITING,)), f"Not ready (NotReady): {WAITING}."),
        (
            replace(SERVING, failed=FAILED, rolled_back_to=1),
            f"Not ready (RolledBack): Revision 1 serves again. {FAILED[1]}.",
        ),
        (replace(SERVING, paused=True), "Paused, ready: spec.suspend is true: the operator changes nothing."),
        (replace(SERVING, deleting="Job a is being deleted"), "Being deleted: Job a is being deleted."),
    ],
)
def test_summary(facts: Facts, line: str) -> None:
    assert summary(conditions([], facts, NOW)) == line


def test_a_shop_without_a_status_is_new() -> None:
    assert summary([]) == "New: the operator has not seen it"


SENTENCES = st.sampled_from([WAITING, "Service a: gone", "Job b: failed: out of time.", "x" * 1_500])
ALL_FACTS = st.builds(
    Facts,
    generation=st.integers(1, 3),
    paused=st.booleans(),
    blocked=st.none() | st.just(MISSING) | SENTENCES.map(lambda sentence: ("InvalidSpec", sentence)),
    rolling=st.sampled_from(["", FIRST, UPGRADE, BACK]),
    pod_problems=st.lists(st.sampled_from([PULL, NO_NODE, NEVER]), max_size=3).map(tuple),
    failed=st.none() | st.just(FAILED),
    rolled_back_to=st.none() | st.just(1),
    serving=st.booleans(),
    unready=st.lists(SENTENCES, max_size=3).map(tuple),
    drift=st.lists(SENTENCES, max_size=2).map(tuple),
    deleting=st.none() | SENTENCES,
)


@given(ALL_FACTS, ALL_FACTS)
def test_the_same_facts_again_change_nothing(before: Facts, facts: Facts) -> None:
    first = conditions(conditions([], before, NOW), facts, LATER)
    assert conditions(first, facts, LATER + timedelta(days=1)) == first


@given(ALL_FACTS, st.randoms())
def test_the_order_in_which_things_are_found_changes_nothing(facts: Facts, order: Any) -> None:
    def shuffled(items: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(order.sample(items, len(items)))

    other = replace(
        facts, pod_problems=shuffled(facts.pod_problems), unready=shuffled(facts.unready), drift=shuffled(facts.drift)
    )
    assert conditions([], other, NOW) == conditions([], facts, NOW)


@given(ALL_FACTS)
def test_every_state_is_valid_for_kubernetes_and_consistent(facts: Facts) -> None:
    found = made(facts)
    for condition in found.values():
        assert condition["status"] in {"True", "False", "Unknown"}
        assert condition["reason"].isalpha()
        assert 0 < len(condition["message"]) <= MESSAGE_CHARS
        assert condition["message"][-1] in ".…"
    if found["Ready"]["status"] == "True":
        assert found["Degraded"]["status"] == "False"
        assert found["Progressing"]["status"] == "False"
    assert summary(list(found.values()))


def test_a_shop_is_never_ready_with_anything_wrong_or_under_way() -> None:
    wrong: list[tuple[str, object]] = [
        ("blocked", ("InvalidSpec", "x")),
        ("blocked", MISSING),
        ("failed", FAILED),
        ("unready", (WAITING,)),
        ("pod_problems", (PULL,)),
        ("deleting", "x"),
    ]
    for (name, value), paused in product(wrong, (False, True)):
        facts = replace(Facts(1, serving=True, paused=paused), **{name: value})  # type: ignore[arg-type]
        assert made(facts)["Ready"]["status"] == "False", name
