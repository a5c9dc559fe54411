"""In CI a failed cluster test is run once more; one that passes only then is printed as FLAKY, with both outputs.

As a pytest plugin it writes the outcome of every test: `pytest -p tests.rerun --outcomes=FILE`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "build" / "e2e"
TESTS_FAILED = 1
NOTHING_COLLECTED = 5
MAX_RERUN_TESTS = 8
"""More failures are not flakiness, and rerunning them would exceed the time limit of CI."""


@dataclass
class Outcome:
    """The outcome of one test: its failure, empty when it passed, and its captured output."""

    failure: str = ""
    captured: str = ""


class Recorder:
    """Collects the outcomes of one session of pytest and writes them when it ends."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._outcomes: dict[str, Outcome] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        outcome = self._outcomes.setdefault(report.nodeid, Outcome())
        if report.failed:
            outcome.failure += f"{report.when}:\n{report.longreprtext}\n"
        # Each report repeats what those before it captured, so the last one has it all.
        outcome.captured = "\n".join(f"--- {title}\n{text}" for title, text in report.sections)

    def pytest_sessionfinish(self) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        found = {test: asdict(outcome) for test, outcome in self._outcomes.items()}
        self._path.write_text(json.dumps(found, indent=1), encoding="utf-8")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--outcomes", type=Path, help="file for the outcome of every test, as JSON")


def pytest_configure(config: pytest.Config) -> None:
    path = config.getoption("--outcomes")
    is_worker = hasattr(config, "workerinput")
    if path and not is_worker:
        config.pluginmanager.register(Recorder(path))


def run(tests: Sequence[str], *options: str, name: str = "tests", environment: Mapping[str, str] | None = None) -> int:
    """pytest's exit code for files and folders of tests, after the second run in CI; no selected test is no failure.

    `name` begins each line that is printed, because several runs may take place at the same time.
    """
    environment = os.environ if environment is None else environment
    code, first = _pytest(name, tests, options, environment)
    failed = [test for test, outcome in first.items() if outcome.failure]
    if code != TESTS_FAILED or "CI" not in environment or not 0 < len(failed) <= MAX_RERUN_TESTS:
        return 0 if code == NOTHING_COLLECTED else code
    print(f"{name}: run once more: {' '.join(failed)}", flush=True)
    code, second = _pytest(name, failed, options, environment)
    for test in failed:
        if test in second and not second[test].failure:
            print(flaky(test, first[test], second[test]), flush=True)
    return code


def flaky(test: str, first: Outcome, second: Outcome) -> str:
    """What is printed of a test that passed only when it was run again."""
    return f"FLAKY {test}\n=== first run\n{first.failure}{first.captured}\n=== second run\n{second.captured}\n"


def _pytest(
    name: str, tests: Sequence[str], options: Sequence[str], environment: Mapping[str, str]
) -> tuple[int, dict[str, Outcome]]:
    path = FOLDER / f"outcomes-{name}.json"
    path.unlink(missing_ok=True)
    command = [sys.executable, "-m", "pytest", "-p", "tests.rerun", f"--outcomes={path}", *tests, *options]
    code = _printed(name, command, environment)
    found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return code, {test: Outcome(**outcome) for test, outcome in found.items()}


def _printed(name: str, command: Sequence[str], environment: Mapping[str, str]) -> int:
    """The exit code of a command, each line of whose output is printed at once."""
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env={**environment, "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
    ) as process:
        assert process.stdout
        for line in process.stdout:
            print(f"{name}: {line}", end="", flush=True)
    return process.returncode
