"""shopctl logs: chosen lines of all components in the order of time, for people and for programs."""

import json
import os
import pty
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from k8s.operator.tests import commands
from shop.devkit.testing import wait_until
from shop.operator.local.log_parser import Parser

TRACE, OTHER = "ab" * 16, "cd" * 16
TIMEOUT_S = 60
EMPTY_KUBECONFIG = {"KUBECONFIG": "/nonexistent"}


def line(ago_s: float, level: str, message: str, trace_id: str = OTHER, **fields: Any) -> str:
    time = (datetime.now(UTC) - timedelta(seconds=ago_s)).isoformat(timespec="milliseconds")
    names = {"time": time, "level": level, "service": "x", "logger": "x", "message": message, "trace_id": trace_id}
    return json.dumps(names | fields)


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """A data folder with logs of three components."""
    logs = tmp_path / ".shop" / "logs"
    logs.mkdir(parents=True)
    order = [
        line(50, "info", "placed", TRACE, order_id="o-1"),
        line(30, "warning", "slow"),
        line(7_200, "error", "old"),
    ]
    (logs / "order-1.log").write_text("\n".join(sorted(order)) + "\n")
    (logs / "order-1.log.1").write_text(line(9_000, "error", "rotated", TRACE) + "\n")
    (logs / "payment-1.log").write_text(line(40, "error", "declined", TRACE, exception="Traceback\n  in pay") + "\n")
    ready_at = datetime.now(UTC) - timedelta(seconds=45)
    (logs / "supervisor.log").write_text(f"{ready_at:%Y-%m-%dT%H:%M:%S%z} order-1 is ready\n")
    return tmp_path


def shopctl(cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return commands.shopctl("logs", *arguments, cwd=cwd, environment=EMPTY_KUBECONFIG)


def messages(cwd: Path, *arguments: str) -> list[str]:
    done = shopctl(cwd, "--json", *arguments)
    assert done.returncode == 0, done.stderr
    return [json.loads(text)["message"].split("Z ")[-1].split("+0000 ")[-1] for text in done.stdout.splitlines()]


def test_all_components_are_merged_by_time(shop: Path) -> None:
    assert messages(shop) == ["old", "placed", "order-1 is ready", "declined", "slow"]


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        (["--since", "10m"], ["placed", "order-1 is ready", "declined", "slow"]),
        (["--level", "warning"], ["rotated", "old", "declined", "slow"]),
        (["--trace", TRACE], ["rotated", "placed", "declined"]),
        (["--trace", TRACE, "--since", "1h", "--level", "error"], ["declined"]),
        (["order", "--since", "10m"], ["placed", "slow"]),
        (["order", "--level", "warning", "--lines", "1"], ["slow"]),
    ],
)
def test_lines_are_chosen(shop: Path, options: list[str], shown: list[str]) -> None:
    assert messages(shop, *options) == shown


def test_people_read_a_line_with_its_fields(shop: Path) -> None:
    done = shopctl(shop, "--since", "10m", "--trace", TRACE)
    placed, declined, *exception = done.stdout.splitlines()
    assert placed.startswith("order-1 ")
    assert placed.endswith(f"INFO     placed order_id=o-1 trace_id={TRACE}")
    assert "ERROR    declined" in declined
    assert exception == ["Traceback", "  in pay"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--since", "yesterday"], "--since yesterday: a number and s, m, h or d"),
        (["--since", "0m"], "--since 0m"),
        (["--level", "loud"], "--level loud: one of debug, info, warning, error, critical"),
        (["--trace", "abc"], "--trace abc: the trace id of an order's page"),
        (["bookshop", "order", "--since", "10m"], "--since is for the shop on this machine"),
    ],
)
def test_a_wrong_choice_is_named(shop: Path, options: list[str], message: str) -> None:
    done = shopctl(shop, *options)
    assert (done.returncode, done.stdout) == (1, "")
    assert f"shopctl: {message}" in done.stderr


async def test_chosen_lines_are_followed(shop: Path) -> None:
    """Of new lines too only those are shown that were asked for, in the logs of every component."""
    command = [
        sys.executable,
        "-m",
        "shop.operator.cli",
        "logs",
        "-f",
        "--json",
        "--level",
        "warning",
        "--trace",
        TRACE,
    ]
    output = shop / "followed"
    with output.open("w") as file:
        follower = subprocess.Popen(command, cwd=shop, stdout=file, env={**os.environ, **EMPTY_KUBECONFIG})
    logs = shop / ".shop" / "logs"

    def shown() -> list[str]:
        return [json.loads(text)["message"] for text in output.read_text().splitlines()]

    try:
        await wait_until(lambda: "declined" in shown(), TIMEOUT_S, "the lines that were there")
        news = [line(0, "info", "quiet", TRACE), line(0, "error", "of another"), line(0, "error", "loud", TRACE)]
        for name, text in zip(("order-1", "order-1", "payment-1"), news, strict=True):
            with (logs / f"{name}.log").open("a") as file:
                file.write(text + "\n")
        await wait_until(lambda: "loud" in shown(), TIMEOUT_S, "the new line")
    finally:
        follower.terminate()
        follower.wait(TIMEOUT_S)
    assert shown() == ["rotated", "declined", "loud"]


@pytest.mark.parametrize(("environment", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_colours_are_for_terminals(shop: Path, environment: dict[str, str], coloured: bool) -> None:
    assert "\x1b" not in shopctl(shop).stdout
    terminal, theirs = pty.openpty()
    command = [sys.executable, "-m", "shop.operator.cli", "logs", "payment"]
    clean = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    variables = {**clean, **EMPTY_KUBECONFIG, **environment}
    subprocess.run(command, stdout=theirs, cwd=shop, env=variables, timeout=TIMEOUT_S, check=True)
    assert (b"\x1b[31m" in os.read(terminal, 65_536)) is coloured
    os.close(terminal)
    os.close(theirs)


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ("2026-11-28 07:38:39.712 UTC [123] LOG:  ready", "info"),
        ("2026-11-28 07:38:39.712 UTC [123] FATAL:  no", "critical"),
        ("2026-11-28 07:38:39.712 UTC [123] shop_order ERROR:  no", "error"),
        ("2026-11-28 07:38:39.712 UTC [123]  LOG:  ready", "info"),
        ("[1] 2026/11/28 07:38:39.712000 [WRN] slow", "warning"),
        ("1160:M 28 Nov 2026 07:46:03.799 # Valkey is now ready to exit, bye bye...", "warning"),
        ("2026-11-28T07:38:39+0000 order-1 ended", "info"),
    ],
)
def test_the_lines_of_stores_have_a_time_and_a_level(text: str, level: str) -> None:
    entry = Parser("store").entry(text)
    assert (entry.level, entry.text) == (level, text)
    assert entry.time is not None
    assert entry.time.date().isoformat() == "2026-11-28"


def test_a_line_without_a_time_belongs_to_the_one_before() -> None:
    parser = Parser("postgres")
    first = parser.entry("2026-11-28 07:38:39.712 UTC [123] ERROR:  no")
    second = parser.entry("\tSELECT 1")
    assert (second.time, second.level) == (first.time, "error")
