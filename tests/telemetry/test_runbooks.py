"""Commands of runbooks, run with a shop on this machine; test_kubectl_of_runbooks.py has those about a cluster."""

from __future__ import annotations

import re
import shlex
import subprocess
from functools import cache
from pathlib import Path

import pytest

from observability import signals
from tests.load.local_shop import shopctl
from tests.telemetry import live_faults, runbook_commands
from tests.telemetry.conftest import TracedShop
from tests.telemetry.runbook_commands import Command

COMMANDS = list(runbook_commands.of_all())
OF_A_CLUSTER = ("plan", "retry", "backup", "logs backup")
"""Commands of shopctl, or their beginnings, that are about a Shop in a cluster alone."""
SHOPCTL = [one for one in COMMANDS if one.program.startswith("./shopctl ")]
LOCAL = [one for one in SHOPCTL if not " ".join(runbook_commands.local_arguments(one.program)).startswith(OF_A_CLUSTER)]
QUERIES = [one for one in COMMANDS if runbook_commands.statement(one.program)]
FILTER_TIMEOUT_S = 10
NOTHING_FOUND = 1
"""grep's exit code."""
LOGS = re.compile(r"\./shopctl logs .* grep (?:-i )?(?:-E )?(.*?) \|")


def ident(command: Command) -> str:
    return f"{command.alert}: {command.text}"


@cache
def printed(data_dir: Path, arguments: tuple[str, ...]) -> str:
    """Many runbooks look at the same: a shopctl for each takes most of a second of CPU."""
    return shopctl(arguments[0], *arguments[1:], data_dir=data_dir, may_fail=True)


@pytest.mark.shop
@pytest.mark.parametrize("command", LOCAL, ids=ident)
def test_a_command_of_shopctl_runs_with_the_shop_on_this_machine(traced: TracedShop, command: Command) -> None:
    found = printed(traced.local.data_dir, tuple(runbook_commands.local_arguments(command.program)))
    assert found.strip()
    if command.filters:
        filters = ["bash", "-c", f"set -o pipefail; {runbook_commands.filled(command.filters)}"]
        done = subprocess.run(
            filters, input=found, capture_output=True, text=True, timeout=FILTER_TIMEOUT_S, check=False
        )
        assert done.returncode in (0, NOTHING_FOUND), done.stderr
        assert done.stderr == ""


@pytest.mark.shop
@pytest.mark.parametrize("command", QUERIES, ids=ident)
async def test_a_query_runs_in_the_services_database(traced: TracedShop, command: Command) -> None:
    found = runbook_commands.statement(command.program)
    assert found is not None
    database, sql = found
    async with live_faults.database(traced, database.removeprefix("shop_")) as connection:
        await connection.fetch(sql)


@pytest.mark.parametrize("command", [one for one in SHOPCTL if LOGS.match(one.text)], ids=ident)
def test_a_log_is_searched_for_events_that_are_written(command: Command) -> None:
    found = LOGS.match(command.text)
    assert found is not None
    [pattern] = shlex.split(found[1])
    events = [one.event for one in signals.load().logs]
    assert pattern in runbook_commands.PLACEHOLDERS or any(re.search(pattern, event) for event in events)


@pytest.mark.parametrize(
    ("text", "program", "filters"),
    [
        ("a -n b", "a -n b", ""),
        ("a | grep -E 'b|c' | tail", "a", "grep -E 'b|c' | tail"),
        ('a "b | c"', 'a "b | c"', ""),
    ],
)
def test_pipes_within_quotes_end_no_command(text: str, program: str, filters: str) -> None:
    command = Command("Alert", text)
    assert (command.program, command.filters) == (program, filters)
