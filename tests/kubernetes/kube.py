"""kubectl and helm as the tests use them."""

from __future__ import annotations

import contextlib
import json
import subprocess
from base64 import b64decode
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shop.devkit.processes import free_port, port_is_free
from shop.devkit.testing import wait_until
from shop.operator import services
from tests.kubernetes import images

ROOT = Path(__file__).parents[2]
CHART = ROOT / "charts" / "shop"
PRESET = "values-kind.yaml"
TESTS_VALUES = Path("tests", "kubernetes", "values.yaml")
SERVICES = tuple(noun for noun in services.SERVICES if noun != "ops")
"""Those of the release: in values-kind.yaml the control room is off."""
"""In a checkout: what its tests set on top of the preset."""
COMMAND_TIMEOUT_S = 120
HELM_TIMEOUT_S = 600
FORWARD_TIMEOUT_S = 20.0
Json = dict[str, Any]


class CommandFailed(AssertionError):
    """kubectl or helm failed; the message is its output."""


def run(*command: str, timeout_s: float = COMMAND_TIMEOUT_S, stdin: str | None = None) -> str:
    """Output of the command; `CommandFailed` when it fails or times out."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=timeout_s, input=stdin)
    if done.returncode:
        raise CommandFailed(f"{' '.join(command[:6])}: {(done.stderr or done.stdout).strip()[-3_000:]}")
    return done.stdout


@dataclass(frozen=True)
class Release:
    """One shop in one namespace, installed by Helm; `tag` is that of its images, "" means this checkout's."""

    name: str
    namespace: str
    chart: Path = CHART
    tag: str = ""

    def kubectl(self, *arguments: str, timeout_s: float = COMMAND_TIMEOUT_S, stdin: str | None = None) -> str:
        return run("kubectl", "--namespace", self.namespace, *arguments, timeout_s=timeout_s, stdin=stdin)

    def get(self, *arguments: str) -> Json:
        found: Json = json.loads(self.kubectl("get", *arguments, "-o", "json"))
        return found

    def items(self, *arguments: str) -> list[Json]:
        found: list[Json] = self.get(*arguments)["items"]
        return found

    def helm(self, *arguments: str) -> str:
        return run("helm", "--namespace", self.namespace, *arguments, timeout_s=HELM_TIMEOUT_S)

    def upgrade(self, *options: str) -> None:
        """Install or upgrade with the tests' values and wait until everything is ready."""
        self.helm(
            "upgrade", "--install", self.name, *self.values(), *options, "--wait", "--timeout", f"{HELM_TIMEOUT_S}s"
        )

    def values(self) -> Sequence[str]:
        """The chart and the values of every installation by the tests, those of the chart's own checkout."""
        checkout = self.chart.parents[1]
        tags = ("--set", f"global.image.registry={images.REGISTRY},global.image.tag={self.tag or images.version()}")
        return (str(self.chart), "--values", str(self.chart / PRESET), "--values", str(checkout / TESTS_VALUES), *tags)

    def pods(self, noun: str) -> list[Json]:
        """Pods of one component that are not ending."""
        found = self.items("pods", "-l", f"app.kubernetes.io/name={noun}")
        return [pod for pod in found if not pod["metadata"].get("deletionTimestamp")]

    def is_settled(self, noun: str) -> bool:
        """Whether no pod of a component is ending: Helm returns while old pods still take requests."""
        found = self.items("pods", "-l", f"app.kubernetes.io/name={noun}")
        return not any(pod["metadata"].get("deletionTimestamp") for pod in found)

    def ready(self, noun: str) -> int:
        return sum(is_ready(pod) for pod in self.pods(noun))

    def secret(self, name: str, key: str) -> str:
        """The decoded value of one key."""
        return self.kubectl(
            "get", "secret", name, "-o", f"go-template={{{{index .data {json.dumps(key)} | base64decode}}}}"
        )

    def secrets(self, *names: str) -> list[dict[str, str]]:
        """The decoded data of several, in the order of their names here, read by one kubectl."""
        found = self.items("secret", *names)
        return [{key: b64decode(value).decode() for key, value in one["data"].items()} for one in found]

    def python(self, noun: str, code: str) -> str:
        """What `code` prints in a pod of a service."""
        return self.kubectl("exec", f"deploy/{noun}", "-c", noun, "--", "python", "-c", code)

    @contextlib.asynccontextmanager
    async def forwarded(self, target: str, port: int) -> AsyncIterator[int]:
        """A port of this machine that is forwarded to `target` (such as svc/postgres) while the block runs."""
        local = free_port()
        command = ["kubectl", "--namespace", self.namespace, "port-forward", target, f"{local}:{port}"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            await wait_until(lambda: process.poll() is not None or not port_is_free(local), FORWARD_TIMEOUT_S)
            assert process.poll() is None, f"kubectl port-forward {target} ended"
            yield local
        finally:
            process.terminate()
            process.wait(timeout=COMMAND_TIMEOUT_S)


def is_ready(pod: Json) -> bool:
    conditions = pod["status"].get("conditions", [])
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)
