"""The cluster of the tests: that of KUBECONFIG, else kind if Docker is running, else one on this machine."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

ROOT = Path(__file__).parents[2]
VARIABLE = "SHOP_E2E_CLUSTER"
PART = "SHOP_E2E_PART"
"""Names the tests that run in one process, of which there may be several at a time."""
OWN = ROOT / "tests" / "cluster" / "cluster"
NODE_PORT = 30080
KIND_NAME = "shop-e2e"
PROBE_TIMEOUT_S = 15
UP_TIMEOUT_S = 3_600


class Cluster(Protocol):
    """A cluster to install the shop in."""

    name: str

    def prepare(self) -> None:
        """Build the cluster's programs before it starts."""

    def up(self) -> None:
        """Return once the cluster accepts objects."""

    def load(self, images: Sequence[str]) -> None:
        """Load images of this machine into the nodes."""

    def environment(self) -> dict[str, str]:
        """Variables for kubectl and helm, and SHOP_E2E_URL of the gateway (empty: use a port-forward)."""

    def down(self) -> None:
        """Remove everything that `up` created."""


def find() -> Cluster:
    """The first that is available."""
    if os.environ.get("KUBECONFIG") and _succeeds("kubectl", "get", "--raw", "/readyz"):
        return Given()
    if _succeeds("docker", "info") and shutil.which("kind"):
        return Kind()
    return Own()


@dataclass
class Given:
    """An existing cluster. Its nodes can pull the images, or SHOP_E2E_LOAD is a command that loads one into them."""

    name: str = "the one of $KUBECONFIG"

    def prepare(self) -> None:
        pass

    def up(self) -> None:
        pass

    def load(self, images: Sequence[str]) -> None:
        loader = os.environ.get("SHOP_E2E_LOAD", "")
        for image in images if loader else ():
            subprocess.run([*loader.split(), image], check=True)

    def environment(self) -> dict[str, str]:
        return {}

    def down(self) -> None:
        pass


@dataclass
class Kind:
    """A kind cluster for the tests."""

    name: str = "kind"

    def prepare(self) -> None:
        pass

    def up(self) -> None:
        if KIND_NAME not in _output("kind", "get", "clusters").split():
            config = ROOT / "k8s" / "kind" / "cluster.yaml"
            _run("kind", "create", "cluster", "--name", KIND_NAME, "--config", str(config), "--wait", "120s")

    def load(self, images: Sequence[str]) -> None:
        _run("kind", "load", "docker-image", "--name", KIND_NAME, *images)

    def environment(self) -> dict[str, str]:
        path = ROOT / "build" / "e2e" / "kind.kubeconfig"
        path.parent.mkdir(parents=True, exist_ok=True)
        _run("kind", "export", "kubeconfig", "--name", KIND_NAME, "--kubeconfig", str(path))
        return {"KUBECONFIG": str(path), "SHOP_E2E_URL": "http://127.0.0.1:8080"}

    def down(self) -> None:
        _run("kind", "delete", "cluster", "--name", KIND_NAME)


@dataclass
class Own:
    """tests/cluster: this machine becomes the node."""

    name: str = "tests/cluster"

    def prepare(self) -> None:
        _run(str(OWN), "able")
        _run(str(OWN), "build")
        _run(str(OWN), "stand-ins")

    def up(self) -> None:
        _run(str(OWN), "up")

    def load(self, images: Sequence[str]) -> None:
        _run(str(OWN), "load", *images)

    def environment(self) -> dict[str, str]:
        """Its programs come first on the PATH: kubectl and helm of the versions that it was built with."""
        home = Path(os.environ.get("CLUSTER_HOME", "") or Path.home() / ".cache" / "devcluster")
        return {
            "KUBECONFIG": str(home / "state" / "pki" / "admin.kubeconfig"),
            "PATH": f"{home / 'bin'}:{os.environ['PATH']}",
            "SHOP_E2E_URL": f"http://127.0.0.1:{NODE_PORT}",
        }

    def down(self) -> None:
        _run(str(OWN), "down")


def _succeeds(*command: str) -> bool:
    try:
        done = subprocess.run(command, capture_output=True, check=False, timeout=PROBE_TIMEOUT_S)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _output(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=PROBE_TIMEOUT_S).stdout


def _run(*command: str) -> None:
    subprocess.run(command, check=True, timeout=UP_TIMEOUT_S)
