"""kopf hands every Shop over, however many come at once."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from shop.devkit.testing import wait_until
from shop.operator.engine import shell
from shop.operator.engine.kube.client import Kube
from shop.operator.engine.kube.objects import Object
from tests.operator.kept import Kept

MANY = 400
WITHIN_S = 10.0
"""Were each of the workers held for half a second per Shop, it would take 25 s."""


async def test_no_shop_waits_for_what_may_come_of_another(
    api: Kube, namespace: str, kubeconfig: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
    names = {f"shop-{number}" for number in range(MANY)}
    await asyncio.gather(*(Kept(api, namespace, name).apply() for name in names))
    stop, seen = asyncio.Event(), set[str]()

    def see(_what: str | None, found: Object) -> None:
        seen.add(found["metadata"]["name"])

    following = asyncio.create_task(shell.follow(see, (namespace,), stop))
    try:
        await wait_until(lambda: seen == names, WITHIN_S, f"{MANY} Shops handed over")
    finally:
        stop.set()
        await following
