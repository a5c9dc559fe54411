"""The game's rules in JavaScript come to the same result as the server's, which replays each round."""

from __future__ import annotations

import copy
import json
from collections.abc import AsyncIterator, Iterator
from random import Random
from typing import Any

import pytest
from playwright.async_api import Browser, Page

from services.games.tests.playing import exact, games, play
from services.storefront.tests.test_storefront_in_browser import url, window
from shop.games import GAMES, Impossible, rules
from shop.storefront.assets import STATIC_DIR, asset_url

__all__ = ["url"]

pytestmark = [pytest.mark.browser]

GAMES_COMPARED, GAMES_PER_CHANGE = 10_000, 200
REPLAYS = """async ([module, rules, games]) => {
  const { replay } = await import(module);
  const numbers = JSON.parse(rules);
  return JSON.stringify(JSON.parse(games).map(([seed, moves]) => replay(seed, moves, numbers)));
}"""
"""Takes and gives JSON: Playwright's own encoding takes seconds for so many."""
CHANGES = {
    "0x6d2b79f5": "0x6d2b79f6", "state >>> 15": "state >>> 14", "state | 1": "state | 3", "mixed >>> 7": "mixed >>> 8",
    "mixed | 61": "mixed | 60", "mixed >>> 14": "mixed >>> 13", "drawn >>> 1)": "drawn >>> 2)",
    "drawn >>> 8": "drawn >>> 9", "drawn >>> 16": "drawn >>> 15", "drawn & 1": "drawn & 2",
    "way <= travel": "way < travel / 2", "streak - 1": "streak", "this.streak = 0": "this.streak = 1",
    "<= this.rules.tolerance": "< this.rules.tolerance", "< this.rules.min_width": "<= this.rules.min_width",
    "placed >= bonuses.after": "placed > bonuses.after", "tick < round.piece.appeared": "tick <= round.piece.appeared",
    "tick > rules.max_ticks": "tick >= rules.max_ticks", "tick < 0": "tick < 1",
}  # fmt: skip
"""Each of them makes another game of the script."""
NOT_OF_THE_SCORE = {"version", "ticks_per_second"}


def server_answer(seed: int, moves: list[int]) -> dict[str, Any]:
    outcome = GAMES["stack"].replay(seed, moves)
    if isinstance(outcome, Impossible):
        return {"reason": outcome.reason}
    return {"score": outcome.score, "ticks": outcome.ticks, "statistics": outcome.statistics}


@pytest.fixture
async def page(chromium: Browser, url: str) -> AsyncIterator[Page]:
    async with window(chromium, url) as page:
        await page.goto(asset_url("icon.svg"))
        yield page


async def browser_answers(
    page: Page, played: list[tuple[int, list[int]]], numbers: dict[str, Any], module: str = ""
) -> list[dict[str, Any]]:
    module = module or asset_url("stack-rules.js")
    answers: list[dict[str, Any]] = json.loads(
        await page.evaluate(REPLAYS, [module, json.dumps(numbers), json.dumps(played)])
    )
    return answers


async def test_ten_thousand_rounds_have_the_same_result_in_browser_and_server(page: Page) -> None:
    played = games(GAMES_COMPARED, seed=1)
    expected = [server_answer(*each) for each in played]
    assert await browser_answers(page, played, rules("stack")) == expected
    reasons = {each["reason"].rstrip("0123456789., ")[:14] for each in expected if "reason" in each}
    assert len(reasons) >= 3
    assert sum("reason" in each for each in expected) > GAMES_COMPARED // 20
    assert max(each.get("statistics", {}).get("placed", 0) for each in expected) == rules("stack")["max_pieces"]


def changed_numbers() -> Iterator[tuple[str, dict[str, Any]]]:
    """The rules with one number changed, for each number."""
    for name, value in rules("stack").items():
        for inner in value if isinstance(value, dict) else [None]:
            changed = copy.deepcopy(rules("stack"))
            if inner is None:
                changed[name] += 1
            else:
                changed[name][inner] += 1
            yield name if inner is None else f"{name}.{inner}", changed


async def test_each_number_of_the_rules_matters(page: Page) -> None:
    """So the comparison would find any difference in the data."""
    played = [*games(GAMES_PER_CHANGE, seed=2), *edge_cases()]
    expected = [server_answer(*each) for each in played]
    unnoticed = [
        name for name, numbers in changed_numbers() if await browser_answers(page, played, numbers) == expected
    ]
    assert set(unnoticed) == NOT_OF_THE_SCORE


async def test_each_constant_of_the_script_matters(page: Page) -> None:
    """So the comparison would find any difference in the rules themselves."""
    played = [*games(GAMES_PER_CHANGE, seed=3), *edge_cases()]
    expected = [server_answer(*each) for each in played]
    source = (STATIC_DIR / "stack-rules.js").read_text(encoding="utf-8")
    unnoticed = []
    for before, after in CHANGES.items():
        assert before in source
        module = await page.evaluate(
            "text => URL.createObjectURL(new Blob([text], { type: 'text/javascript' }))", source.replace(before, after)
        )
        if await browser_answers(page, played, rules("stack"), module) == expected:
            unnoticed.append(before)
    assert unnoticed == []


def edge_cases() -> list[tuple[int, list[int]]]:
    """Presses at the first and the last tick, when a piece appears, and where one unit decides; whole rounds."""
    last, width = rules("stack")["max_ticks"], rules("stack")["width"]
    settle, least, tolerance = (rules("stack")[name] for name in ("settle_ticks", "min_width", "tolerance"))
    seed, moves = exact(lambda left, top: left == top)
    return [
        (0, [last]), (0, [last + 1]), (0, [0]), (0, [-1]),
        (seed, [moves[0], moves[0] + settle]),
        exact(lambda left, top: abs(left - top) == tolerance),
        exact(lambda left, top: abs(left - top) == width - least),
        *[(seed, [tick]) for seed in range(10) for tick in range(0, 300, 3)],
        *[(seed, play(seed, Random(seed), seed % 4 / 2)) for seed in range(40)],
    ]  # fmt: skip
