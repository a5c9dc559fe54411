"""A test that fails by chance is seen in CI, and does not end it; one that fails twice does."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests import rerun

CHANCE = """
import pathlib

def test_by_chance():
    print("seen", "in both")
    mark = pathlib.Path(__file__).with_name("mark")
    first = not mark.exists()
    mark.touch()
    assert not first, "only the first time"

def test_well():
    pass
"""
ALWAYS = "def test_always():\n    assert False, 'every time'\n"
PLAIN = ("-q", "-p", "no:cacheprovider", "-p", "no:xdist")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder for tests of its own, whose outcomes are not those of another run."""
    monkeypatch.setenv("PYTHONPATH", str(rerun.ROOT))
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setattr(rerun, "ROOT", tmp_path)
    monkeypatch.setattr(rerun, "FOLDER", tmp_path / "outcomes")
    (tmp_path / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    return tmp_path


def ran(ci: bool, *options: str) -> int:
    environment = {name: value for name, value in os.environ.items() if name != "CI"} | ({"CI": "true"} if ci else {})
    return rerun.run(["."], *PLAIN, *options, environment=environment)


def test_one_that_passes_only_the_second_time_is_printed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "test_chance.py").write_text(CHANCE, encoding="utf-8")
    assert ran(True) == 0
    printed = capsys.readouterr().out
    flaky = printed.partition("FLAKY")[2]
    assert "only the first time" in flaky
    assert flaky.count("seen in both") == 2
    assert "test_well" not in printed


def test_each_line_names_the_run(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "test_always.py").write_text(ALWAYS, encoding="utf-8")
    assert rerun.run(["."], *PLAIN, name="shops") == rerun.TESTS_FAILED
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 3
    assert [line for line in lines if not line.startswith("shops: ")] == []


def test_one_that_fails_twice_fails(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "test_always.py").write_text(ALWAYS, encoding="utf-8")
    assert ran(True) == rerun.TESTS_FAILED
    assert "FLAKY" not in capsys.readouterr().out


def test_outside_ci_the_first_run_counts(folder: Path) -> None:
    (folder / "test_chance.py").write_text(CHANCE, encoding="utf-8")
    assert ran(False) == rerun.TESTS_FAILED


def test_many_failures_are_not_chance(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "test_chance.py").write_text(CHANCE, encoding="utf-8")
    monkeypatch.setattr(rerun, "MAX_RERUN_TESTS", 0)
    assert ran(True) == rerun.TESTS_FAILED


def test_nothing_chosen_is_no_failure(folder: Path) -> None:
    (folder / "test_chance.py").write_text(CHANCE, encoding="utf-8")
    assert ran(True, "-k", "nothing_of_this_name") == 0
