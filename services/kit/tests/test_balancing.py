"""Which instance gets a request, rule by rule: a clock that stands still, a seed, and no network."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shop.kit.balancing.balancer import Balancer
from shop.kit.balancing.breaker import Breaker, State
from shop.kit.balancing.budget import MAX_SAVED, RetryBudget
from shop.kit.balancing.instance import About, Instance
from shop.kit.balancing.measures import Faults, PeakLatency
from shop.kit.balancing.rules import MAX_INFLIGHT, Rules

RULES = Rules()
FAST_S = 0.01


class Fleet:
    """A balancer with a clock of its own."""

    def __init__(self, size: int, rules: Rules = RULES, seed: int = 7) -> None:
        self.at = 1_000.0
        self.opened = 0
        addresses = [f"http://10.0.0.{number}" for number in range(size)]
        draw = random.Random(seed).random
        self.balancer = Balancer(addresses, rules, lambda: self.at, draw, self._count)

    def _count(self) -> None:
        self.opened += 1

    def __getitem__(self, number: int) -> Instance:
        return self.balancer.instances[number]

    def picks(self, times: int, between_s: float = 0.0) -> Counter[int]:
        """How often each instance is picked, by its number; nothing is sent."""
        found: Counter[int] = Counter()
        for _ in range(times):
            one = self.balancer.pick()
            found[-1 if one is None else self.balancer.instances.index(one)] += 1
            self.at += between_s
        return found

    def all_answer(self, *, but: int | None = None, times: int = 10) -> None:
        for _ in range(times):
            for number, one in enumerate(self.balancer.instances):
                if number != but and one.breaker.state is State.CLOSED:
                    self.balancer.succeeded(one, FAST_S)


def test_requests_under_way_and_latency_are_weighed_together() -> None:
    fleet = Fleet(2)
    fleet.balancer.succeeded(fleet[0], 0.030)
    fleet.balancer.succeeded(fleet[1], 0.010)
    assert fleet.picks(50) == {1: 50}
    for _ in range(3):
        fleet[1].began(fleet.at)
    assert fleet.picks(50) == {0: 50}


def test_streams_go_where_fewer_are_open_whatever_requests_cost() -> None:
    fleet = Fleet(3)
    fleet.all_answer()
    fleet[0].streams = 1
    fleet[1].streams = 2
    fleet.balancer.succeeded(fleet[2], 0.5)
    assert fleet.balancer.pick(stream=True) is fleet[2]
    assert fleet.picks(50)[2] == 0


def test_of_many_the_dearest_gets_nothing_and_the_others_share() -> None:
    fleet = Fleet(5)
    fleet.balancer.succeeded(fleet[2], 0.5)
    found = fleet.picks(1_000)
    assert found[2] == 0
    assert min(found[number] for number in (0, 1, 3, 4)) > 150


def test_a_peak_counts_at_once_and_is_forgotten_with_time() -> None:
    latency = PeakLatency(decay_s=3.0, first_s=0.01, now=0.0)
    latency.add(0.5, 0.0)
    assert latency.at(0.0) == 0.5
    latency.add(0.01, 0.1)
    assert 0.4 < latency.at(0.1) < 0.5
    assert latency.at(0.1 + 3.0 * 5) < 0.01


@given(st.lists(st.tuples(st.floats(0.0, 10.0), st.floats(0.0, 5.0)), min_size=1, max_size=30))
def test_a_latency_lies_between_the_last_and_the_slowest_answer(answers: list[tuple[float, float]]) -> None:
    latency, now, slowest = PeakLatency(3.0, 0.0, 0.0), 0.0, 0.0
    for taken_s, waited_s in answers:
        now += waited_s
        slowest = max(slowest, taken_s)
        latency.add(taken_s, now)
        assert taken_s - 1e-9 <= latency.at(now) <= slowest + 1e-9


def test_a_failure_counts_as_slow_so_that_failing_fast_attracts_nobody() -> None:
    fleet = Fleet(2)
    fleet.all_answer()
    fleet.balancer.faulted(fleet[0], 0.0001)
    assert fleet[0].latency_s(fleet.at) >= RULES.failure_latency_s
    assert fleet.picks(50) == {1: 50}


def test_a_silent_instance_grows_dearer_while_requests_wait_for_it() -> None:
    fleet = Fleet(2)
    fleet.all_answer()
    fleet[0].began(fleet.at)
    fleet[1].began(fleet.at)
    fleet.at += 0.3
    fleet.balancer.succeeded(fleet[1], FAST_S)
    assert fleet[0].latency_s(fleet.at) == pytest.approx(0.3)
    assert fleet[1].latency_s(fleet.at) < 0.02
    assert fleet.picks(50) == {1: 50}


def test_retry_after_is_honoured_for_a_limited_time_while_there_are_others() -> None:
    fleet = Fleet(2)
    fleet.balancer.faulted(fleet[0], FAST_S, retry_after_s=1e9)
    fleet[1].inflight = 500
    assert fleet.picks(20) == {1: 20}
    fleet.at += RULES.max_pause_s
    assert fleet.picks(20) == {0: 20}
    fleet.balancer.pause(fleet[0], 5.0)
    fleet.balancer.pause(fleet[1], 5.0)
    assert set(fleet.picks(20)) == {0}


def test_a_new_instance_starts_slowly() -> None:
    fleet = Fleet(3)
    fleet.all_answer()
    fleet.balancer.update({one.base_url: About() for one in fleet.balancer.instances} | {"http://new": About()})
    first = fleet.picks(2_000)[3]
    fleet.at += RULES.slow_start_s / 2
    middle = fleet.picks(2_000)[3]
    fleet.at += RULES.slow_start_s / 2
    full = fleet.picks(2_000)[3]
    assert 0 < first < middle / 2 < full / 2


def test_instances_that_stay_keep_what_is_known_of_them() -> None:
    fleet = Fleet(2)
    stays = fleet[1]
    fleet.balancer.succeeded(stays, 0.4)
    added, gone = fleet.balancer.update({stays.base_url: About(version="2"), "http://new": About()})
    assert [one.base_url for one in added] == ["http://new"]
    assert [one.base_url for one in gone] == ["http://10.0.0.0"]
    assert fleet[0] is stays
    assert (stays.latency_s(fleet.at), stays.about.version) == (0.4, "2")


def test_an_instance_that_has_registered_after_it_refused_connections_gets_requests() -> None:
    fleet = Fleet(1)
    address = fleet[0].base_url
    fleet[0].refused = True
    fleet[0].breaker.open()
    fleet.balancer.update({address: About()})
    assert fleet.picks(1) == {-1: 1}
    fleet.balancer.update({address: About(id="order-1")})
    assert fleet.picks(2) == {0: 2}
    fleet[0].breaker.open()
    fleet.balancer.update({address: About(id="order-1", version="2")})
    assert fleet.picks(1) == {-1: 1}
    fleet[0].refused = True
    fleet.balancer.update({address: About()})
    assert fleet.picks(1) == {-1: 1}


def fails(fleet: Fleet, number: int, times: int) -> None:
    """One instance answers with faults, the others do not."""
    for _ in range(times):
        fleet.balancer.faulted(fleet[number], FAST_S)
        fleet.all_answer(but=number, times=1)


def test_an_instance_that_fails_more_than_its_others_is_ejected() -> None:
    fleet = Fleet(4)
    fails(fleet, 2, 4)
    assert fleet[2].breaker.state is State.CLOSED
    fails(fleet, 2, 1)
    assert (fleet[2].breaker.state, fleet[2].ejections, fleet.opened) == (State.OPEN, 1, 1)
    assert fleet.picks(400)[2] == 0


def test_faults_of_all_instances_eject_none() -> None:
    """They are likely those of another service that all of them call."""
    fleet = Fleet(3)
    for _ in range(50):
        for one in fleet.balancer.instances:
            fleet.balancer.faulted(one, FAST_S)
    assert fleet.opened == 0
    assert len(fleet.picks(100)) > 1


@pytest.mark.parametrize("share", [0.2, 0.5])
def test_no_more_than_the_allowed_share_is_ejected(share: float) -> None:
    fleet = Fleet(10, Rules(reset_s=1e6, max_reset_s=1e6, max_ejected_share=share))
    for number in range(7):
        fails(fleet, number, 40)
        fleet.at += 100.0
    assert fleet.opened == 10 * share


def test_ejections_grow_longer_and_that_is_forgotten_slowly() -> None:
    fleet, lengths = Fleet(3), []
    for _ in range(3):
        fails(fleet, 0, 6)
        lengths.append(fleet[0].breaker.retry_after_s)
        fleet.at += lengths[-1]
        while fleet[0].breaker.state is not State.CLOSED:
            chosen = fleet.balancer.pick()
            assert chosen is fleet[0]
            fleet.balancer.succeeded(chosen, FAST_S)
    assert lengths == [5.0, 10.0, 20.0]
    fleet.at += 3_600
    fails(fleet, 0, 6)
    assert fleet[0].breaker.retry_after_s == 5.0


def test_a_service_that_is_down_is_tried_again_soon_however_long_it_was_down() -> None:
    fleet = Fleet(2, Rules(failures_to_open=1))
    for _ in range(20):
        for one in fleet.balancer.instances:
            fleet.balancer.failed(one, FAST_S)
        assert fleet.picks(5) == {-1: 5}
        fleet.at += 10.0
        assert -1 not in fleet.picks(1)


def test_after_an_ejection_one_probe_decides() -> None:
    fleet = Fleet(2)
    fails(fleet, 0, 5)
    fleet.at += fleet[0].breaker.retry_after_s
    assert fleet.picks(4) == {0: 1, 1: 3}
    fleet.balancer.faulted(fleet[0], FAST_S)
    assert fleet[0].breaker.state is State.OPEN
    fleet.at += fleet[0].breaker.retry_after_s
    assert fleet.balancer.pick() is fleet[0]
    fleet.balancer.succeeded(fleet[0], FAST_S)
    assert fleet[0].latency_s(fleet.at) == FAST_S
    assert fleet[0].warmth(fleet.at) < 1.0


def test_with_too_few_usable_instances_all_that_answer_are_used() -> None:
    fleet = Fleet(8, Rules(failures_to_open=1))
    for number in range(6):
        fleet.balancer.failed(fleet[number], FAST_S)
    assert set(fleet.picks(300)) == {6, 7}
    assert not fleet.balancer.panicking
    fleet[0].refused = True
    fleet.balancer.failed(fleet[6], FAST_S)
    assert set(fleet.picks(300)) == {1, 2, 3, 4, 5, 6, 7}
    assert fleet.balancer.panicking


def test_an_instance_that_fails_its_health_checks_is_passed_over_until_it_passes() -> None:
    fleet = Fleet(3)
    fleet.balancer.checked(fleet[0], ready=False, failures_to_act=2)
    assert fleet.picks(100)[0] > 0
    fleet.balancer.checked(fleet[0], ready=False, failures_to_act=2)
    assert fleet.picks(100)[0] == 0
    fleet.balancer.checked(fleet[0], ready=True, failures_to_act=2)
    assert 0 < fleet.picks(300)[0] < 60


def test_a_full_instance_gets_nothing() -> None:
    fleet = Fleet(1)
    fleet[0].inflight = MAX_INFLIGHT
    assert fleet.balancer.pick() is None


@given(
    size=st.integers(1, 12),
    steps=st.lists(st.tuples(st.sampled_from(["ok", "fault", "fail", "pause", "check", "wait"]), st.integers(0, 11))),
)
def test_as_long_as_a_breaker_is_closed_somebody_gets_the_request(size: int, steps: list[tuple[str, int]]) -> None:
    fleet = Fleet(size)
    actions: dict[str, Callable[[Instance], object]] = {
        "ok": lambda one: fleet.balancer.succeeded(one, FAST_S),
        "fault": lambda one: fleet.balancer.faulted(one, FAST_S),
        "fail": lambda one: fleet.balancer.failed(one, FAST_S),
        "pause": lambda one: fleet.balancer.pause(one, 5.0),
        "check": lambda one: fleet.balancer.checked(one, ready=False, failures_to_act=1),
        "wait": lambda one: setattr(fleet, "at", fleet.at + 1.0),
    }
    for action, number in steps:
        actions[action](fleet[number % size])
        if any(one.breaker.state is State.CLOSED for one in fleet.balancer.instances):
            assert fleet.balancer.pick() is not None


def test_faults_decay_and_are_never_reset() -> None:
    faults = Faults(decay_s=10.0, now=0.0)
    assert faults.share is None
    for second in range(10):
        faults.add(float(second), fault=second % 2 == 0)
    assert faults.share == pytest.approx(0.5, abs=0.06)
    assert 2.0 < faults.count(9.0) < 5.0
    assert faults.count(100.0) < 0.001


@given(st.lists(st.tuples(st.booleans(), st.floats(0.0, 2.0)), max_size=200))
def test_retries_never_exceed_their_budget(events: list[tuple[bool, float]]) -> None:
    budget, now, requests, retries = RetryBudget(0.0), 0.0, 0, 0
    for retry, waited_s in events:
        now += waited_s
        if retry:
            retries += budget.take(now)
        else:
            requests += 1
            budget.requested()
        assert retries <= MAX_SAVED + 0.2 * requests + 1.0 * now + 1e-6


def test_a_budget_that_is_used_up_fills_with_requests_and_with_time() -> None:
    budget = RetryBudget(0.0)
    assert sum(budget.take(0.0) for _ in range(100)) == MAX_SAVED
    for _ in range(5):
        budget.requested()
    assert [budget.take(0.0), budget.take(0.0), budget.take(1.1)] == [True, False, True]


def test_a_breaker_that_is_told_nothing_of_length_always_resets_alike() -> None:
    at = [0.0]
    breaker = Breaker(failures_to_open=1, reset_s=5.0, now=lambda: at[0], max_reset_s=60.0)
    for _ in range(4):
        breaker.failed()
        assert breaker.retry_after_s == 5.0
        at[0] += 5.0
        assert breaker.allows()
