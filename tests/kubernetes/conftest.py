"""One shop in one cluster for all tests of this folder. `make e2e` collects them; a plain pytest run does not."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest

from shop.devkit.testing import wait_until
from tests.integration.buyers import new_product, order
from tests.kubernetes import clusters, memory
from tests.kubernetes import timeline as timelines
from tests.kubernetes.customers import GOOD, fresh_connections
from tests.kubernetes.kube import ROOT, CommandFailed, Release, run
from tests.kubernetes.timeline import Timeline
from tests.load.shoppers import Shop, ShopError

collect_ignore_glob = [] if clusters.VARIABLE in os.environ else ["test_*.py"]

NAMESPACE = "shop-e2e"
RELEASE = "shop"
REPORT = ROOT / "build" / "e2e" / f"report-{os.environ.get(clusters.PART, 'tests')}.json"
NAMESPACE_TIMEOUT_S = 180
SELLS_WITHIN_S = 60.0
FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(trylast=True)
def pytest_runtest_logstart() -> None:
    """End the line with the test's name, so that it is printed when the test starts."""
    print(file=sys.__stderr__, flush=True)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Print a failure at once: a run takes minutes, and an interrupted one prints no summary."""
    if report.failed:
        print(f"\n{report.nodeid} ({report.when}):\n{report.longreprtext}", file=sys.__stderr__, flush=True)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Tell fixtures whether their test failed."""
    report = yield
    item.stash[FAILED] = item.stash.get(FAILED, False) or report.failed
    return report


@dataclass
class Findings:
    """Measurements, written to build/e2e/report-*.json when the session ends."""

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


@contextlib.contextmanager
def fresh_namespace(name: str) -> Iterator[str]:
    """A new namespace with the Pod Security Standard "restricted" enforced.

    Its Services are deleted at the end, since the gateway's fixed port is one shop's at a time; the rest goes later.
    """
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
    run("kubectl", "delete", "namespace", name, "--ignore-not-found", timeout_s=NAMESPACE_TIMEOUT_S)
    run("kubectl", "apply", "-f", "-", stdin=json.dumps(body))
    yield name
    run("kubectl", "delete", "services", "--all", "--namespace", name, timeout_s=NAMESPACE_TIMEOUT_S)
    run("kubectl", "delete", "namespace", name, "--wait=false")


@pytest.fixture(scope="session")
def namespace() -> Iterator[str]:
    with fresh_namespace(NAMESPACE) as name:
        yield name


@pytest.fixture(scope="session")
def installed(namespace: str, findings: Findings) -> Release:
    """`helm install`, with every pod ready."""
    shop = Release(RELEASE, namespace)
    started = time.monotonic()
    try:
        shop.upgrade()
    except CommandFailed as error:
        raise CommandFailed(f"{error}\n{state(shop)}") from error
    findings.note("seconds from helm install to ready", round(time.monotonic() - started, 1))
    findings.note("memory of the pods when ready (MiB)", memory.of_pods(shop))
    return shop


@pytest.fixture(scope="session")
async def release(installed: Release, api: Shop, findings: Findings) -> Release:
    """The shop after its first order."""
    started = time.monotonic()
    trouble = await first_sale(installed, api)
    findings.note("seconds from ready to the first sale", round(time.monotonic() - started, 1))
    findings.note("what went wrong before the first sale", trouble)
    return installed


async def first_sale(shop: Release, api: Shop) -> Counter[str]:
    """Errors before the first order: pods are ready a moment before every node routes to them."""
    trouble: Counter[str] = Counter()

    async def sells() -> bool:
        try:
            await buy_one(shop, api)
        except (ShopError, aiohttp.ClientError, TimeoutError) as error:
            trouble[f"{type(error).__name__}: {error}"] += 1
            return False
        return True

    await wait_until(sells, SELLS_WITHIN_S, "a first sale")
    return trouble


async def buy_one(shop: Release, api: Shop) -> None:
    """Order a new product as a new customer; ShopError when a request is refused."""
    admin = await sign_in(shop, api)
    product = await new_product(api, admin, 1)
    [buyer] = await api.sign_up_many(1)
    answer = await order(api, buyer, product["id"])
    if answer.status not in GOOD:
        raise ShopError(f"order: {answer.status} {answer.code}")


async def sign_in(shop: Release, api: Shop) -> str:
    """The administrator's access token, with the password from the Secret that NOTES.txt names."""
    return await api.token(*administrator(shop))


def administrator(shop: Release) -> tuple[str, str]:
    """Email and password."""
    return shop.secret("shop-admin", "email"), shop.secret("shop-admin", "password")


def state(shop: Release) -> str:
    """Diagnostics of an installation that does not become ready."""
    with contextlib.suppress(CommandFailed):
        pods = shop.kubectl("get", "pods")
        events = shop.kubectl("get", "events", "--field-selector", "type=Warning", "--sort-by=.lastTimestamp")
        return f"{pods}\n{events[-3_000:]}"
    return ""


@pytest.fixture(scope="session")
async def url(installed: Release) -> AsyncIterator[str]:
    """The gateway's URL: the one that the cluster gives, else a port-forward."""
    if address := os.environ.get("SHOP_E2E_URL"):
        yield address
        return
    async with installed.forwarded("svc/gateway", 8000) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="session")
async def api(url: str) -> AsyncIterator[Shop]:
    client = fresh_connections(url)
    yield client
    await client.close()


@pytest.fixture
def steady() -> None:
    """For tests that replace the gateway's pod: a port-forward ends with its pod."""
    if not os.environ.get("SHOP_E2E_URL"):
        pytest.skip("needs SHOP_E2E_URL, an address of the gateway that outlives its pod")


@pytest.fixture
async def admin(release: Release, api: Shop) -> str:
    """The administrator's access token."""
    return await sign_in(release, api)


@pytest.fixture
async def timeline(release: Release, request: pytest.FixtureRequest) -> AsyncIterator[Timeline]:
    """Events of the pods during the test, printed when it fails."""
    async with printed_when_failed(release, request.node) as kept:
        yield kept


@contextlib.asynccontextmanager
async def printed_when_failed(release: Release, node: pytest.Item) -> AsyncIterator[Timeline]:
    async with timelines.timeline(release, node.name) as kept:
        yield kept
        if node.stash.get(FAILED, False):
            print(kept.report(), flush=True)


@pytest.fixture
def acknowledged(tmp_path: Path) -> Path:
    """A file for the ids of acknowledged orders, for the audit."""
    return tmp_path / "acknowledged"
