"""The operator is killed at every write of a creation and of an upgrade, and the next one ends what it began."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path

import pytest

from shop.operator.kube.client import Kube
from shop.operator.kube.objects import APPLIED, Object, Ref
from tests.operator.apiserver import ApiServer
from tests.operator.conftest import new_namespace
from tests.operator.faults import Proxy
from tests.operator.kept import SMALL, Kept
from tests.operator.killing import USER, Births, rests, spared, through
from tests.operator.kubelet import Kubelet
from tests.operator.operators import Operators


@pytest.fixture
async def proxy(apiserver: ApiServer) -> AsyncIterator[Proxy]:
    async with Proxy(apiserver, user=USER, groups=["system:masters"]) as proxy:
        yield proxy


async def test_killed_at_every_write_of_a_creation_and_an_upgrade(
    api: Kube, apiserver: ApiServer, operators: Operators, operator_login: Path, proxy: Proxy
) -> None:
    namespace = await new_namespace(api)
    shop, births = Kept(api, namespace), Births(api, namespace)
    async with Kubelet(api, namespace):

        async def ready() -> bool:
            resource = await shop.resource()
            found = await shop.condition("Ready")
            same = found.get("observedGeneration") == resource["metadata"]["generation"]
            return same and found.get("status") == "True" and "rollout" not in resource["status"]

        await shop.apply()
        created = await through(operators, proxy, namespace, ready)
        await rests(operators, operator_login, apiserver, shop)
        assert births.twice() == []
        first = await shop.objects()
        inventory = {entry["id"] for entry in (await shop.status())["inventory"]}
        own = {ref for ref in first if ref.name in ("bookshop-seed", "bookshop-history")}
        assert inventory == {str(ref) for ref in first.keys() - own}

        await shop.patch(version="0.2.0", services={"order": {"replicas": 2}})
        upgraded = await through(operators, proxy, namespace, ready)
        await rests(operators, operator_login, apiserver, shop)
        assert births.twice() == []
        second = await shop.objects()
        assert (await shop.status())["revision"] == 2
        assert len(second) == len(first), "nothing of the first revision is left over"
    births.close()
    assert len(first) > 50
    assert spared(created, "PATCH", first.keys() - own) == set()
    changed = {ref for ref in second if applied(second[ref]) != applied(first.get(ref))}
    assert spared(upgraded, "PATCH", changed) == set()
    assert names(second) == names(await made_in_peace(api, operators, operator_login))


def applied(obj: Object | None) -> str | None:
    """Hash of what was applied."""
    return obj["metadata"].get("annotations", {}).get(APPLIED) if obj else None


async def made_in_peace(api: Kube, operators: Operators, login: Path) -> Mapping[Ref, Object]:
    """The same Shop without any kill."""
    shop = Kept(api, await new_namespace(api))
    async with Kubelet(api, shop.namespace):
        operator = operators.start(login, shop.namespace)
        await shop.apply({**SMALL, "version": "0.2.0"})
        await shop.patch(services={"order": {"replicas": 2}})
        await shop.ready()
        operator.kill()
    return await shop.objects()


def names(objects: Mapping[Ref, Object]) -> set[str]:
    """Kinds and names, without the hashes that follow from a namespace."""
    return {f"{obj['kind']}/{obj['metadata']['name']}" for obj in objects.values() if obj["kind"] != "Job"}
