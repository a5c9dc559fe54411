"""`shopctl achievements apply`: with the rules and the database of the running shop."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
from typer.testing import CliRunner

from shop.devkit.testing import DatabaseFor
from shop.kit.ids import new_id
from shop.operator.cli.shopctl import app
from shop.operator.errors import ShopctlError
from shop.operator.local import achievement_rules
from shop.operator.local.data_dir import DataDir

RULE = "rules: [{code: score-3, name: Three, description: Score 3, when: {score: {source: stack, at_least: 3}}}]"
SHOP = f"""
apiVersion: shops.shopkeeper.dev/v1alpha1
kind: Shop
metadata: {{name: demo}}
spec:
  modules: {{retail: true, arcade: true}}
  services:
    achievement: {{env: {{SHOP_ACHIEVEMENT_RULES: "{RULE}"}}}}
"""


@pytest.fixture
def data(tmp_path: Path) -> Iterator[DataDir]:
    """The folder of a shop that runs, as the command sees it."""
    folder = DataDir(tmp_path / "shop")
    folder.claim("demo", "EUR")
    folder.shop_file.write_text(SHOP)
    folder.write_state({"components": [{"name": name, "port": 1} for name in ("postgres", "achievement-1")]})
    yield folder
    folder.release()


def refused(data: DataDir) -> str:
    result = CliRunner().invoke(app, ["achievements", "apply", "--data-dir", str(data.path)])
    assert isinstance(result.exception, ShopctlError)
    return str(result.exception)


async def test_the_rules_of_the_running_shop_are_applied(
    data: DataDir, database_for: DatabaseFor, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = await database_for("achievement")
    monkeypatch.setattr(achievement_rules, "database_url", lambda *_: url)
    player, database = new_id(), await asyncpg.connect(url)
    await database.execute("INSERT INTO players (player_id) VALUES ($1)", player)
    await database.execute("INSERT INTO facts VALUES ($1, 'score:stack', 3, 3)", player)
    command = ["achievements", "apply", "--data-dir", str(data.path)]
    result = await asyncio.to_thread(CliRunner().invoke, app, command)
    assert result.output == "1 players checked, 1 achievements unlocked\n"
    assert await database.fetchval("SELECT code FROM unlocked WHERE player_id = $1", player) == "score-3"
    await database.close()


def test_what_the_program_says_is_the_error(data: DataDir) -> None:
    data.shop_file.write_text(SHOP.replace("at_least: 3", "at_least: 0"))
    message = refused(data)
    assert "\n" not in message
    assert message.startswith("wrong settings: SHOP_ACHIEVEMENT_RULES: ")
    assert "rules[0].when.score.at_least" in message


def test_a_shop_without_the_arcade_has_no_achievements(data: DataDir) -> None:
    data.write_state({"components": [{"name": name, "port": 1} for name in ("postgres", "order-1")]})
    assert "spec.modules.arcade: true turns them on" in refused(data)


def test_a_shop_must_run(tmp_path: Path) -> None:
    assert "no shop runs in" in refused(DataDir(tmp_path))
