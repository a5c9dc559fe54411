"""The rules file, and each kind of condition. Nothing here needs a database."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from services.achievement.tests.achievement_service import RULES, confirmed, gained, scored
from shop.achievement import apply
from shop.achievement.conditions import Condition, Measure
from shop.achievement.domain import Player, PlayerEvent
from shop.achievement.rules import MAX_FILE_BYTES, RulesError, load, parse
from shop.achievement.settings import Settings
from shop.kit import serve
from shop.kit.ids import new_id

ADA = new_id()
SCORE: dict[str, Any] = {"score": {"source": "stack", "at_least": 10}}


def measured(condition: dict[str, Any], *events: PlayerEvent, currency: str = "EUR") -> Measure:
    player = Player(ADA)
    for event in events:
        player.take(event, {})
    return Condition.model_validate(condition).measure(player.facts, currency)


def progress(condition: dict[str, Any], *events: PlayerEvent, currency: str = "EUR") -> tuple[int, int]:
    found = measured(condition, *events, currency=currency)
    return found.have, found.need


def test_score_is_the_best_of_one_round_of_its_source() -> None:
    rounds = [scored(ADA, 4), scored(ADA, 9), scored(ADA, 6), scored(ADA, 50, source="chess")]
    assert progress(SCORE, *rounds) == (9, 10)
    assert not measured(SCORE, *rounds).met
    assert measured(SCORE, *rounds, scored(ADA, 10)) == Measure(10, 10, (("score:stack", 10),))


def test_score_of_zero_is_a_round() -> None:
    assert progress({"rounds": {"source": "stack", "at_least": 2}}, scored(ADA, 0)) == (1, 2)


def test_sum_counts_scores_or_a_statistic_of_all_rounds() -> None:
    rounds = [scored(ADA, 4, placed=7), scored(ADA, 9, placed=1), scored(ADA, 50, source="chess", placed=50)]
    assert progress({"sum": {"source": "stack", "at_least": 20}}, *rounds) == (13, 20)
    assert progress({"sum": {"source": "stack", "statistic": "placed", "at_least": 20}}, *rounds) == (8, 20)


def test_sum_goes_beyond_64_bits() -> None:
    rounds = [scored(ADA, 2**63 - 1)] * 3
    assert progress({"sum": {"source": "stack", "at_least": 5}}, *rounds) == (3 * (2**63 - 1), 5)


def test_statistic_is_that_of_one_round() -> None:
    condition = {"statistic": {"source": "stack", "name": "row", "at_least": 5}}
    assert progress(condition, scored(ADA, 1, row=3), scored(ADA, 1, row=4)) == (4, 5)


@pytest.mark.parametrize(
    ("seconds", "counts"), [(0, True), (29.999, True), (30, True), (30.001, False), (601, False), (10**12, False)]
)
def test_speed_counts_rounds_within_its_seconds(seconds: float, counts: bool) -> None:
    condition = {"speed": {"source": "stack", "within_s": 30, "score_at_least": 8}}
    found = measured(condition, scored(ADA, 8, seconds=seconds), scored(ADA, 100, seconds=31))
    assert (found.have, found.met) == ((8, True) if counts else (0, False))


def test_speed_names_the_round_that_met_it() -> None:
    condition = {"speed": {"source": "stack", "within_s": 30, "score_at_least": 8}}
    found = measured(condition, scored(ADA, 3, seconds=4), scored(ADA, 9, seconds=20.5))
    assert found.evidence == (("score_within:stack:21", 8),)


def test_a_round_without_a_duration_is_not_fast() -> None:
    condition = {"speed": {"source": "stack", "within_s": 600, "score_at_least": 1}}
    assert progress(condition, scored(ADA, 8).model_copy(update={"duration_ms": None})) == (0, 1)


def test_streak_and_level_are_the_highest_ever() -> None:
    events = [gained(ADA, level=4, streak=3), gained(ADA, level=3, streak=1, version=2)]
    assert progress({"streak": {"days": 7}}, *events) == (3, 7)
    assert progress({"level": {"at_least": 5}}, *events) == (4, 5)


@pytest.mark.parametrize(("currency", "minor"), [("EUR", 100), ("JPY", 1), ("KWD", 1_000)])
def test_spent_is_in_whole_units_of_the_stores_currency(currency: str, minor: int) -> None:
    orders = [confirmed(ADA, total=5 * minor, currency=currency), confirmed(ADA, total=10**6, currency="USD")]
    condition = {"spent": {"at_least": 6}}
    assert progress(condition, *orders, currency=currency) == (5, 6)
    last = confirmed(ADA, total=minor, currency=currency)
    assert measured(condition, *orders, last, currency=currency).evidence == ((f"spent:{currency}", 6 * minor),)


def test_categories_are_counted_once_or_named() -> None:
    orders = [confirmed(ADA, "tea", "tea", "books"), confirmed(ADA, "tea", "")]
    assert progress({"categories": {"at_least": 3}}, *orders) == (2, 3)
    assert progress({"categories": {"all": ["tea", "wine"]}}, *orders) == (1, 2)
    assert measured({"categories": {"all": ["tea", "books"]}}, *orders).met


def test_all_of_needs_each_part_and_any_of_one() -> None:
    parts = [SCORE, {"orders": {"at_least": 4}}]
    assert progress({"all_of": parts}, scored(ADA, 10)) == (1, 2)
    assert measured({"all_of": parts}, scored(ADA, 10), *[confirmed(ADA)] * 1).met is False
    assert progress({"any_of": parts}, scored(ADA, 6), confirmed(ADA)) == (6, 10), "the nearest part"
    assert measured({"any_of": parts}, *[confirmed(ADA) for _ in range(4)]).evidence == (("orders", 4),)


def test_the_part_that_holds_wins_over_one_that_is_as_near_as_numbers_can_tell() -> None:
    almost = {"score": {"source": "stack", "at_least": 2**53 - 1}}
    met = {"score": {"source": "chess", "at_least": 1}}
    events = [scored(ADA, 2**53 - 2), scored(ADA, 1, source="chess")]
    assert measured({"any_of": [almost, met]}, *events).met


def test_statistics_with_wrong_names_and_too_many_are_left_out() -> None:
    player = Player(ADA)
    names = {f"n{number:03}": 1 for number in range(100)} | {"Not A Name": 5, "": 5}
    player.take(scored(ADA, 1).model_copy(update={"statistics": names, "source": "s" * 500}), {})
    kept = [name for name in player.facts.values() if name.startswith("statistic:")]
    assert kept == [f"statistic:{'s' * 64}:n{number:03}" for number in range(16)]


def test_the_shops_own_rules_can_be_loaded() -> None:
    rules = load()
    assert 15 <= len(rules) <= 30
    assert any(rule.hidden for rule in rules.values())
    assert not any(rule.external for rule in rules.values())


def one(**changed: Any) -> str:
    rule = {"code": "a", "name": "A", "description": "B", "when": SCORE} | changed
    return yaml.safe_dump({"rules": [{key: value for key, value in rule.items() if value is not None}]})


def when(**condition: Any) -> str:
    return one(when=condition)


WRONG = {
    "rules[0].code:": [one(code="Not a code"), one(code=7), one(code=None), one(code="x" * 65)],
    "rules[0].name:": [one(name=""), one(name="x" * 61), one(name="zero\u200bwidth"), one(name=None)],
    "rules[0].description:": [one(description="x" * 201), one(description="a\nb\x07")],
    "rules[0].xp:": [one(xp=-1), one(xp=10_001), one(xp="5"), one(xp=1.5), one(xp=True)],
    "rules[0].hidden:": [one(hidden="yes")],
    "rules[0].secret:": [one(secret=True)],
    "rules[0]: give either when or external": [one(when=None), one(external=True)],
    "rules[0].when: give exactly one": [when(), when(**SCORE, orders={"at_least": 1})],
    "rules[0].when.scor:": [when(scor={"at_least": 1})],
    "rules[0].when.score.at_least:": [
        when(score={"source": "stack", "at_least": value}) for value in (0, -1, 1.5, "1", True, None, 2**53)
    ],
    "rules[0].when.score.source:": [when(score={"source": value, "at_least": 1}) for value in ("", "a b", "x" * 65)],
    "rules[0].when.sum.statistic:": [when(sum={"source": "stack", "statistic": "No", "at_least": 1})],
    "rules[0].when.statistic.name:": [when(statistic={"source": "stack", "at_least": 1})],
    "rules[0].when.speed.within_s:": [
        when(speed={"source": "stack", "within_s": value, "score_at_least": 1}) for value in (0, 601)
    ],
    "rules[0].when.categories: give either": [
        when(categories={}),
        when(categories={"at_least": 1, "all": ["tea"]}),
    ],
    "rules[0].when.categories: all names": [when(categories={"all": ["tea", "tea"]})],
    "rules[0].when.all_of:": [when(all_of=[SCORE]), when(all_of=[SCORE] * 9)],
    "rules[0].when.all_of[1].orders.at_least:": [when(all_of=[SCORE, {"orders": {"at_least": 0}}])],
    "rules[0].when.all_of[1]: conditions stand": [
        when(all_of=[SCORE, {"all_of": [SCORE, {"all_of": [SCORE, {"any_of": [SCORE, SCORE]}]}]}])
    ],
    "rules[1].code: a is the code": [one() + one().removeprefix("rules:\n")],
    "rules:": ["rules: 5", "other: 5", yaml.safe_dump({"rules": yaml.safe_load(one())["rules"] * 257})],
    "not YAML:": ["rules: [", "rules:\n\t- x", "rules: &a [*a, "],
    "the rules are longer": ["#" * (MAX_FILE_BYTES + 1) + "\n"],
}


@pytest.mark.parametrize(("start", "text"), [(start, text) for start, texts in WRONG.items() for text in texts])
def test_a_wrong_rules_file_is_one_line_that_names_the_field(start: str, text: str) -> None:
    with pytest.raises(RulesError) as refused:
        parse(text)
    message = str(refused.value)
    assert start in message
    assert "\n" not in message
    assert message.isprintable()


def test_rules_come_from_a_file_or_are_written_out(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(RULES, encoding="utf-8")
    assert load(str(file)) == load(RULES) == load(yaml.safe_dump(yaml.safe_load(RULES)))
    with pytest.raises(RulesError, match=r"absent\.yaml cannot be read"):
        load(str(tmp_path / "absent.yaml"))
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(RulesError, match="cannot be read"):
        load(str(file))


def test_settings_refuse_wrong_rules() -> None:
    with pytest.raises(ValidationError, match=r"rules\[0\]\.xp"):
        Settings(achievement_rules=one(xp=-1))


def exit_of(main: Callable[[], None], monkeypatch: pytest.MonkeyPatch, **environment: str) -> str:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.argv", ["program", "achievement"])
    with pytest.raises(SystemExit) as ended:
        main()
    message = str(ended.value.code)
    assert "\n" not in message
    return message


@pytest.mark.parametrize("main", [serve.main, apply.main], ids=["service", "command"])
def test_no_program_starts_with_wrong_rules(main: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    message = exit_of(main, monkeypatch, SHOP_ACHIEVEMENT_RULES=one(xp=-1))
    assert message.startswith("achievement: wrong settings: SHOP_ACHIEVEMENT_RULES: ")
    assert "rules[0].xp: Input should be greater than or equal to 0" in message


def test_the_command_says_that_there_is_no_database(monkeypatch: pytest.MonkeyPatch) -> None:
    message = exit_of(apply.main, monkeypatch, SHOP_DATABASE_URL="postgresql://nobody@127.0.0.1:1/none")
    assert message.startswith("achievement: database: ")
