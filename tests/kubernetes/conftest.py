"""One shop in one cluster for all tests of this folder. `make e2e` collects them; a plain pytest run does not."""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.kubernetes import clusters, memory
from tests.kubernetes.customers import fresh_connections
from tests.kubernetes.kube import ROOT, CommandFailed, Release, run
from tests.load.shoppers import Shop

collect_ignore_glob = [] if clusters.VARIABLE in os.environ else ["test_*.py"]

NAMESPACE = "shop-e2e"
RELEASE = "shop"
REPORT = ROOT / "build" / "e2e" / "report.json"
NAMESPACE_TIMEOUT_S = 180
NAMESPACE_OBJECT = {
    "apiVersion": "v1",
    "kind": "Namespace",
    # The cluster itself refuses every pod that is not restricted.
    "metadata": {"name": NAMESPACE, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
}


@dataclass
class Findings:
    """Numbers worth keeping; written to build/e2e/report.json when the session ends."""

    numbers: dict[str, object] = field(default_factory=dict)

    def note(self, name: str, value: object) -> None:
        self.numbers[name] = value
        print(f"{name}: {value}", flush=True)


@pytest.fixture(scope="session")
def findings() -> Iterator[Findings]:
    found = Findings()
    yield found
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    REPORT.write_text(json.dumps(found.numbers, indent=1) + "\n", encoding="utf-8")


@pytest.fixture(scope="session")
def namespace() -> Iterator[str]:
    """A namespace that takes only restricted pods, empty before and gone after."""
    run("kubectl", "delete", "namespace", NAMESPACE, "--ignore-not-found", timeout_s=NAMESPACE_TIMEOUT_S)
    run("kubectl", "apply", "-f", "-", stdin=json.dumps(NAMESPACE_OBJECT))
    yield NAMESPACE
    run("kubectl", "delete", "namespace", NAMESPACE, timeout_s=NAMESPACE_TIMEOUT_S)


@pytest.fixture(scope="session")
def release(namespace: str, findings: Findings) -> Release:
    """`helm install` and nothing else, waited for until every pod is ready."""
    shop = Release(RELEASE, namespace)
    started = time.monotonic()
    try:
        shop.upgrade()
    except CommandFailed as error:
        raise CommandFailed(f"{error}\n{state(shop)}") from error
    findings.note("seconds from helm install to ready", round(time.monotonic() - started, 1))
    findings.note("memory of the pods when ready (MiB)", memory.of_pods(shop))
    return shop


def state(shop: Release) -> str:
    """What a person would look at first when an installation does not become ready."""
    with contextlib.suppress(CommandFailed):
        pods = shop.kubectl("get", "pods")
        events = shop.kubectl("get", "events", "--field-selector", "type=Warning", "--sort-by=.lastTimestamp")
        return f"{pods}\n{events[-3_000:]}"
    return ""


@pytest.fixture(scope="session")
async def url(release: Release) -> AsyncIterator[str]:
    """Where the gateway is: at the address of the cluster's maker, else through a port-forward."""
    if address := os.environ.get("SHOP_E2E_URL"):
        yield address
        return
    async with release.forwarded("svc/gateway", 8000) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="session")
async def api(url: str) -> AsyncIterator[Shop]:
    client = fresh_connections(url)
    yield client
    await client.close()


@pytest.fixture
def steady() -> None:
    """For tests that replace the gateway's pod: a port-forward ends with the pod that it leads to."""
    if not os.environ.get("SHOP_E2E_URL"):
        pytest.skip("needs SHOP_E2E_URL, an address of the gateway that outlives its pod")


@pytest.fixture
async def admin(release: Release, api: Shop) -> str:
    """The administrator's access token, with the password that NOTES.txt tells where to find."""
    return await api.token(release.secret("shop-admin", "email"), release.secret("shop-admin", "password"))


@pytest.fixture
def acknowledged(tmp_path: Path) -> Path:
    """Where a test writes the ids of the orders that customers were told of, for the audit."""
    return tmp_path / "acknowledged"
