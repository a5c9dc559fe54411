"""A Shop as a person sees it through kubectl: columns, `get all`, explanations, waiting."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from shop.devkit.testing import wait_until
from shop.operator.kube.client import Kube
from shop.operator.kube.kinds import SHOP
from shop.operator.kube.objects import Object
from tests.operator.apiserver import program

TIMEOUT_S = 180
NOW = "2026-11-22T08:00:00Z"
READY = {
    "type": "Ready",
    "status": "False",
    "reason": "CrashLoopBackOff",
    "message": "pod books-order-1 says no",
    "lastTransitionTime": NOW,
}
STATUS = {
    "version": "0.1.0",
    "url": "https://books.example.com",
    "servicesReady": "7/8",
    "conditions": [READY],
}


@pytest.fixture
async def shop(api: Kube, namespace: str) -> Object:
    metadata = {"name": "books", "namespace": namespace}
    await api.create(SHOP, {"apiVersion": SHOP.api_version, "kind": SHOP.kind, "metadata": metadata})
    return await api.patch(SHOP, namespace, "books", {"status": STATUS}, subresource="status")


async def kubectl(kubeconfig: Path, *arguments: str) -> str:
    return (await run(kubeconfig, *arguments))[1]


async def run(kubeconfig: Path, *arguments: str) -> tuple[int | None, str]:
    """Exit code, and what it printed."""
    found = program("kubectl")
    if found is None:
        pytest.skip("kubectl is neither on PATH nor in the test cluster's cache")
    process = await asyncio.create_subprocess_exec(
        found,
        *("--kubeconfig", str(kubeconfig), *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    async with asyncio.timeout(TIMEOUT_S):
        out, _ = await process.communicate()
    return process.returncode, out.decode()


def cells(text: str) -> list[list[str]]:
    return [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in text.splitlines()]


async def test_columns_show_how_a_shop_is(kubeconfig: Path, shop: Object) -> None:
    head, row = cells(await kubectl(kubeconfig, "-n", shop["metadata"]["namespace"], "get", "shop"))
    assert head == ["NAME", "READY", "VERSION", "URL", "SERVICES", "AGE"]
    assert row[:5] == ["books", "False", "0.1.0", "https://books.example.com", "7/8"]


async def test_a_wide_table_says_why(kubeconfig: Path, shop: Object) -> None:
    head, row = cells(await kubectl(kubeconfig, "-n", shop["metadata"]["namespace"], "get", "shop", "-o", "wide"))
    assert (head[-1], row[-1]) == ("MESSAGE", "pod books-order-1 says no")


async def test_all_has_the_shops(kubeconfig: Path, shop: Object) -> None:
    assert "shop.shops.shopkeeper.dev/books" in await kubectl(
        kubeconfig, "-n", shop["metadata"]["namespace"], "get", "all"
    )


async def test_fields_are_explained(kubeconfig: Path, api: Kube) -> None:
    assert await api.served(SHOP.api_version) == {"Shop"}

    async def explanation() -> str:
        """Empty until the API server publishes the schema, a moment after it serves the resource."""
        text = " ".join((await kubectl(kubeconfig, "explain", "shop.spec.database.mode")).split())
        return "" if "couldn't find resource" in text else text

    found = await wait_until(explanation, TIMEOUT_S, what="the published schema")
    assert "It cannot be changed, because data is not migrated." in found


async def test_waiting_ends_when_the_shop_is_ready(kubeconfig: Path, api: Kube, shop: Object) -> None:
    namespace = shop["metadata"]["namespace"]
    waiting = asyncio.create_task(
        kubectl(kubeconfig, "-n", namespace, "wait", "--for=condition=Ready", "shop/books", f"--timeout={TIMEOUT_S}s")
    )
    ready = [{**READY, "status": "True", "reason": "AllReady", "message": "it sells"}]
    await api.patch(SHOP, namespace, "books", {"status": {"conditions": ready}}, subresource="status")
    assert "condition met" in await waiting
