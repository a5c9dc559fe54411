"""A Shop of the operator, used by kubectl, shopctl, and the gateway through a port-forward."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import yaml

from shop.devkit.testing import wait_until
from tests.audit_report import assert_holds
from tests.kubernetes.customers import fresh_connections
from tests.kubernetes.kube import ROOT, Release, run
from tests.load.shoppers import Shop

SAMPLES = ROOT / "k8s" / "samples"
READY_TIMEOUT_S = 300
SHOPCTL_TIMEOUT_S = 400
GONE_WITHIN_S = 180.0
Json = dict[str, Any]


@dataclass(frozen=True)
class Operated:
    """One Shop in one namespace."""

    name: str
    namespace: str
    sample: str = "bookshop"

    @property
    def inside(self) -> Release:
        """kubectl in the Shop's namespace."""
        return Release(self.name, self.namespace)

    def apply(self, **spec: Any) -> None:
        """The sample under this Shop's name, with parts of its spec in place of the sample's."""
        resource = yaml.safe_load((SAMPLES / f"{self.sample}.yaml").read_text(encoding="utf-8"))
        resource["metadata"]["name"] = self.name
        resource["spec"] |= spec
        self.inside.kubectl("apply", "-f", "-", stdin=json.dumps(resource))

    def patch(self, spec: Json) -> None:
        self.inside.kubectl("patch", "shop", self.name, "--type=merge", "-p", json.dumps({"spec": spec}))

    def ready(self, timeout_s: int = READY_TIMEOUT_S) -> float:
        """Seconds until `kubectl wait` says so."""
        started = time.monotonic()
        try:
            self.inside.kubectl(
                "wait",
                "--for=condition=Ready",
                f"shop/{self.name}",
                f"--timeout={timeout_s}s",
                timeout_s=timeout_s + 10,
            )
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.state()}") from error
        return round(time.monotonic() - started, 1)

    def state(self) -> str:
        """Diagnostics."""
        found = self.inside.kubectl("get", "shop,pods,jobs", "-o", "wide")
        return f"{found}\n{json.dumps(self.conditions(), indent=1)}"

    def resource(self) -> Json:
        return self.inside.get("shop", self.name)

    def conditions(self) -> dict[str, Json]:
        return {one["type"]: one for one in self.resource().get("status", {}).get("conditions", ())}

    async def comes_to(self, condition: str, reason: str, timeout_s: float = READY_TIMEOUT_S) -> Json:
        """The condition once it has the reason for the present spec."""

        def there() -> Json | None:
            resource = self.resource()
            found = {one["type"]: one for one in resource.get("status", {}).get("conditions", ())}.get(condition, {})
            same = found.get("observedGeneration") == resource["metadata"]["generation"]
            return found if same and found.get("reason") == reason else None

        try:
            found: Json = await wait_until(there, timeout_s, f"{condition}/{reason}")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.state()}") from error
        return found

    def revision(self) -> int:
        return int(self.resource()["status"]["revision"])

    def delete(self) -> None:
        """Delete the Shop and wait until it and its objects are gone."""
        self.inside.kubectl(
            "delete", "shop", self.name, f"--timeout={GONE_WITHIN_S:.0f}s", timeout_s=GONE_WITHIN_S + 10
        )

    def shopctl(self, command: str, *options: str, check: bool = True) -> str:
        """What `shopctl COMMAND NAME` prints."""
        done = self._shopctl(command, *options)
        if check:
            assert done.returncode == 0, f"shopctl {command}: {done.stdout}{done.stderr}"
        return done.stdout + ("" if check else done.stderr)

    def assert_clean(self) -> None:
        """Every oracle of the audit holds, once what is under way has ended."""
        done = self._shopctl("audit", "--json", "--wait", "90")
        if not done.stdout:
            raise AssertionError(f"shopctl audit ended with code {done.returncode}: {done.stderr}")
        assert_holds(json.loads(done.stdout))

    def _shopctl(self, command: str, *options: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "shop.operator.cli", command, self.name, "-n", self.namespace, *options],
            capture_output=True,
            text=True,
            check=False,
            timeout=SHOPCTL_TIMEOUT_S,
        )

    def image(self, noun: str) -> str:
        """What the service's Deployment runs."""
        deployment = self.inside.get("deployment", f"{self.name}-{noun}")
        return str(deployment["spec"]["template"]["spec"]["containers"][0]["image"])

    @contextlib.asynccontextmanager
    async def gateway(self) -> AsyncIterator[Shop]:
        """Its API, through a port-forward to one of the gateway's pods."""
        async with self.inside.forwarded(f"svc/{self.name}-gateway", 8000) as port:
            client = fresh_connections(f"http://127.0.0.1:{port}")
            try:
                yield client
            finally:
                await client.close()

    async def admin(self, api: Shop) -> str:
        """The administrator's token."""
        secret = f"{self.name}-shop-admin"
        return await api.token(self.inside.secret(secret, "email"), self.inside.secret(secret, "password"))


def namespace_with(name: str) -> None:
    """A new namespace that only admits restricted pods."""
    run("kubectl", "delete", "namespace", name, "--ignore-not-found", timeout_s=GONE_WITHIN_S)
    body = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": name, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
    }
    run("kubectl", "apply", "-f", "-", stdin=json.dumps(body))
