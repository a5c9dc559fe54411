"""The seconds in the reports are summed by test file, and for one service."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import durations

REPORT = """<?xml version="1.0"?><testsuites><testsuite name="pytest">
<testcase classname="services.loyalty.tests.test_api" name="test_is_listed" time="1.5"/>
<testcase classname="tests.integration.test_faults" name="test_killed[loyalty]" time="4"/>
<testcase classname="tests.integration.test_faults" name="test_killed[order-loyalty]" time="2"/>
<testcase classname="tests.integration.test_faults" name="test_killed[loyalty_points]" time="8"/>
</testsuite></testsuites>
"""


def test_seconds_of_a_service_are_those_of_its_folder_and_its_cases(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "services.xml").write_text(REPORT, encoding="utf-8")
    monkeypatch.setattr(durations, "ROOT", tmp_path)
    monkeypatch.setattr(durations, "REPORTS", [tmp_path])
    monkeypatch.setattr("sys.argv", ["durations", "loyalty"])
    assert durations.main() == 0
    first, *files = capsys.readouterr().out.splitlines()
    assert first == "services.xml: 8 s in 3 tests"
    assert [line.split() for line in files] == [
        ["6.0", "s", "tests.integration.test_faults"],
        ["1.5", "s", "services.loyalty.tests.test_api"],
    ]


def test_without_reports_it_says_what_to_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(durations, "REPORTS", [tmp_path])
    monkeypatch.setattr("sys.argv", ["durations"])
    assert durations.main() == 1
    assert "make test" in capsys.readouterr().err
