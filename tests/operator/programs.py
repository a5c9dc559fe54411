"""Programs beside the API server, and kubectl as its administrator."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from shop.devkit.processes import launch
from shop.operator.kube.objects import Object
from tests.operator import apiserver as servers

COMMAND_TIMEOUT_S = 60
READY = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}


def program(name: str) -> str:
    """Skips the test without it."""
    found = servers.program(name)
    if found is None:
        pytest.skip(f"{name} neither on PATH nor in {servers.CACHE}")
    return str(found)


@contextmanager
def running(command: Sequence[str], log: Path) -> Iterator[None]:
    """A process that runs while the block does."""
    process = launch(list(command), signal_number=signal.SIGKILL, log=log)
    try:
        yield
    finally:
        process.kill()
        process.wait()


@dataclass(frozen=True)
class Kubectl:
    """kubectl with a kubeconfig, in a namespace."""

    kubeconfig: Path
    namespace: str

    def __call__(self, *arguments: str, objects: Sequence[Object] = ()) -> str:
        """What it prints; `objects` are its standard input."""
        done = subprocess.run(
            [program("kubectl"), "--namespace", self.namespace, *arguments],
            env={**os.environ, "KUBECONFIG": str(self.kubeconfig)},
            input=json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)}),
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT_S,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def run_pods(self, pods: Mapping[str, Object]) -> None:
        """Make pods as a kubelet leaves them: ready, each at its address."""
        self("apply", "-f", "-", objects=list(pods.values()))
        statuses = [{**pod, "status": {**READY, "podIP": at, "podIPs": [{"ip": at}]}} for at, pod in pods.items()]
        self("apply", "--server-side", "--force-conflicts", "--subresource=status", "-f", "-", objects=statuses)


def pod_of(deployment: Object) -> Object:
    """One of its pods, which no controller makes on an API server alone; without what a pod's start would need."""
    noun, made = deployment["metadata"]["name"], deployment["spec"]["template"]
    ports = made["spec"]["containers"][0]["ports"]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {**made["metadata"], "name": f"{noun}-1"},
        "spec": {"containers": [{"name": noun, "image": "localhost/none:1", "ports": ports}]},
    }
