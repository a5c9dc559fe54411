"""`make test` closes with one line that says what all its phases found."""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from pathlib import Path

import pytest

from tests import chromium, longest_first, run

REPORT = """<?xml version="1.0"?><testsuites><testsuite name="pytest" errors="1" failures="2" skipped="3" tests="10"/>
</testsuites>"""


def test_report_is_counted(tmp_path: Path) -> None:
    path = tmp_path / "report.xml"
    path.write_text(REPORT, encoding="utf-8")
    assert run.counts(path) == {"passed": 4, "failed": 2, "skipped": 3, "errors": 1}


def test_missing_report_counts_nothing(tmp_path: Path) -> None:
    assert run.counts(tmp_path / "none.xml") == Counter()


def test_closing_line_is_pytests_own() -> None:
    line = run.closing_line(Counter(passed=7, failed=1), 61.234)
    assert re.fullmatch(r"=+ 1 failed, 7 passed in 61\.23s =+", line)
    assert "no tests ran" in run.closing_line(Counter(), 0.1)


def test_every_test_belongs_to_one_phase() -> None:
    services, shop = run.PHASES["services"], run.PHASES["shop"]
    assert services[services.index("-m") + 1] == "not shop and not browser"
    assert shop[shop.index("-m") + 1] == "shop or browser"
    assert all("loadfile" in options for options in (services, shop)), "tests of a file share what they start"


def test_the_phase_of_the_shop_collects_every_file_with_its_marks() -> None:
    files = {Path(name) for name in run.files_with(run.MARKS["shop"], [])}
    assert {path.parent for path in files} >= {run.ROOT / "tests" / "e2e", run.ROOT / "tests" / "integration"}
    others = {path for folder in run.FOLDERS for path in (run.ROOT / folder).rglob("test_*.py")} - files
    imported = re.compile(r"import .*\bpytestmark\b")
    assert not [path for path in others if imported.search(path.read_text(encoding="utf-8"))]
    assert run.files_with(run.MARKS["shop"], ["tests/integration/test_faults.py::test_any"]) == []
    assert run.files_with(run.MARKS["services"], []) == []


def test_the_phases_look_where_pytest_does() -> None:
    project = tomllib.loads((run.ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert list(run.FOLDERS) == project["tool"]["pytest"]["ini_options"]["testpaths"]


def test_the_longest_files_exist() -> None:
    assert not [name for name in longest_first.LONGEST if not (run.ROOT / name).is_file()]


def test_the_longest_files_begin_then_those_with_most_tests() -> None:
    slow = [run.ROOT / name for name in longest_first.LONGEST[:2]]
    few, many = Path("few.py"), Path("many.py")
    assert longest_first.in_order({few: 1, many: 30, slow[1]: 2, slow[0]: 1}) == [*slow, many, few]


def test_missing_browser_is_explained(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(chromium, "installed", lambda: None)
    monkeypatch.setattr(chromium, "downloaded", lambda: None)
    monkeypatch.setattr(chromium, "download", lambda: "no network")
    assert chromium.main() == 1
    output = capsys.readouterr().err
    assert "no network" in output
    assert "apt-get install chromium" in output


def test_installed_browser_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chromium, "installed", lambda: Path("chromium"))
    assert chromium.main() == 0


def test_the_browser_without_a_user_interface_is_preferred(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert chromium.installed() is None
    for name in ("chromium", "chromium-headless-shell"):
        (tmp_path / name).touch(mode=0o755)
        assert chromium.installed() == tmp_path / name


def test_files_that_share_something_are_one_piece_of_work() -> None:
    scope = longest_first.scope
    assert scope("tests/charts/test_a.py::test[x]") == scope("tests/charts/test_b.py::test") != "tests/charts/test_a.py"
    assert scope("tests/architecture/test_size.py::test") == scope("tests/architecture/test_boundaries.py::test")
    assert scope("tests/test_run.py::test") == "tests/test_run.py"
    assert not [path for path in longest_first.TOGETHER if not (run.ROOT / path).exists()]


@pytest.mark.parametrize(
    ("fixture", "shared"),
    [("shop: RunningShop", longest_first.SHOP), ("traced: TracedShop", longest_first.TRACED_SHOP)],
)
def test_one_worker_runs_all_tests_of_a_shop(fixture: str, shared: str) -> None:
    """A second shop takes as long to start as some of these files take."""
    of_the_shop = re.compile(rf"def test_\w+\([^)]*\b{fixture}")
    texts = {path: path.read_text(encoding="utf-8") for path in (run.ROOT / "tests").rglob("test_*.py")}
    files = [str(path.relative_to(run.ROOT)) for path, text in texts.items() if of_the_shop.search(text)]
    assert len(files) >= 3
    assert {longest_first.scope(f"{file}::test") for file in files} == {shared}, files
