"""Commands of runbooks that call kubectl: it and a real API server understand each."""

from __future__ import annotations

import asyncio
import re
import shlex
from pathlib import Path

from shop.operator.kube.client import Kube
from tests.operator.test_kubectl import run
from tests.telemetry import runbook_commands

AT_ONCE = 2
OF_OTHERS = "servicemonitor|prometheusrule|prometheus|certificate|certificaterequest|order|challenge"
"""Kinds of the Prometheus operator and of cert-manager, which this API server does not have."""
UNDERSTOOD = re.compile(
    r"[Ee]rror from server \(NotFound\)|No resources found|error: Metrics API not available|^no$"
    rf"|error: the server doesn't have a resource type \"(?:{OF_OTHERS})\"",
    re.MULTILINE,
)
"""Answers about objects that are not there, and about a right that nobody has here."""
COMMANDS = sorted({one.program for one in runbook_commands.of_all() if one.program.startswith("kubectl ")})


async def test_every_command_is_understood(kubeconfig: Path, api: Kube, namespace: str) -> None:
    gate = asyncio.Semaphore(AT_ONCE)

    async def refused(command: str) -> str:
        async with gate:
            _, *arguments = shlex.split(runbook_commands.filled(command, NAMESPACE=namespace))
            code, answer = await run(kubeconfig, *arguments)
        return "" if code == 0 or UNDERSTOOD.search(answer) else f"{command}: {answer}"

    refusals = await asyncio.gather(*(refused(command) for command in COMMANDS))
    assert [refusal for refusal in refusals if refusal] == []
