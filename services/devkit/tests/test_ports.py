"""Ports that are chosen now and listened on later."""

from __future__ import annotations

import subprocess
import sys

import pytest

from shop.devkit import processes

CHOOSE_AND_STAY = """
import sys
from shop.devkit import processes
processes.PORT_RANGE = range(int(sys.argv[1]), int(sys.argv[2]))
processes.PORT_ATTEMPTS = 1
print(processes.free_port(), flush=True)
sys.stdin.read()
"""


def test_a_port_that_another_process_has_chosen_is_free_again_when_that_process_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    port = processes.free_port()
    processes._release(port)
    processes._owners.pop(port)
    monkeypatch.setattr(processes, "PORT_RANGE", range(port, port + 1))
    monkeypatch.setattr(processes, "PORT_ATTEMPTS", 1)
    command = [sys.executable, "-c", CHOOSE_AND_STAY, str(port), str(port + 1)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert int(other.stdout.readline()) == port
        with pytest.raises(processes.PortInUse):
            processes.free_port()
        other.communicate()
    assert processes.free_port() == port
