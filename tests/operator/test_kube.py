"""The client against a real API server."""

from __future__ import annotations

import asyncio

import pytest

from shop.operator.kube.api_errors import Conflict, Gone, Invalid, NotFound
from shop.operator.kube.client import Kube
from shop.operator.kube.kinds import CONFIG_MAP, DEPLOYMENT, SECRET
from shop.operator.kube.objects import Object
from tests.operator.apiserver import ApiServer


def config_map(namespace: str, name: str = "settings", **data: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, "namespace": namespace, "labels": {"app": "t"}},
        "data": data,
    }


async def test_objects_are_applied_read_and_deleted(api: Kube, namespace: str) -> None:
    applied = await api.apply(CONFIG_MAP, config_map(namespace, a="1"), force=True)
    assert await api.get(CONFIG_MAP, namespace, "settings") == applied
    assert applied["metadata"]["managedFields"][0]["manager"] == "shop-operator"
    assert await api.delete(CONFIG_MAP, namespace, "settings", uid=applied["metadata"]["uid"])
    assert await api.get(CONFIG_MAP, namespace, "settings") is None
    assert not await api.delete(CONFIG_MAP, namespace, "settings")


async def test_delete_spares_another_object_of_the_same_name(api: Kube, namespace: str) -> None:
    await api.apply(CONFIG_MAP, config_map(namespace), force=True)
    with pytest.raises(Conflict):
        await api.delete(CONFIG_MAP, namespace, "settings", uid="00000000-0000-0000-0000-000000000000")


async def test_dry_run_changes_nothing(api: Kube, namespace: str) -> None:
    answer = await api.apply(CONFIG_MAP, config_map(namespace, a="1"), force=True, dry_run=True)
    assert answer["data"] == {"a": "1"}
    assert await api.get(CONFIG_MAP, namespace, "settings") is None


async def test_fields_of_other_managers_are_overwritten_only_with_force(api: Kube, namespace: str) -> None:
    await api.create(CONFIG_MAP, config_map(namespace, a="1"))
    await api.patch(CONFIG_MAP, namespace, "settings", {"data": {"a": "2"}})
    with pytest.raises(Conflict) as caught:
        await api.apply(CONFIG_MAP, config_map(namespace, a="3"), force=False)
    assert ".data.a" in caught.value.message
    assert (await api.apply(CONFIG_MAP, config_map(namespace, a="3"), force=True))["data"] == {"a": "3"}


async def test_create_and_replace_report_conflicts(api: Kube, namespace: str) -> None:
    first = await api.create(CONFIG_MAP, config_map(namespace, a="1"))
    with pytest.raises(Conflict) as caught:
        await api.create(CONFIG_MAP, config_map(namespace, a="1"))
    assert caught.value.reason == "AlreadyExists"
    second = await api.replace(CONFIG_MAP, {**first, "data": {"a": "2"}})
    assert second["data"] == {"a": "2"}
    with pytest.raises(Conflict):
        await api.replace(CONFIG_MAP, {**first, "data": {"a": "3"}})


async def test_patches(api: Kube, namespace: str) -> None:
    await api.create(CONFIG_MAP, config_map(namespace, a="1"))
    await api.patch(CONFIG_MAP, namespace, "settings", {"data": {"a": None, "b": "2"}})
    operations = [{"op": "add", "path": "/data/c", "value": "3"}]
    patched = await api.patch(CONFIG_MAP, namespace, "settings", operations)
    assert patched["data"] == {"b": "2", "c": "3"}


async def test_a_list_is_read_in_pages(api: Kube, namespace: str) -> None:
    for number in range(5):
        await api.create(CONFIG_MAP, config_map(namespace, f"c{number}"))
    items, version, token = await api.page(CONFIG_MAP, namespace, "app=t", limit=2)
    assert [item["metadata"]["name"] for item in items] == ["c0", "c1"]
    assert (items[0]["apiVersion"], items[0]["kind"]) == ("v1", "ConfigMap")
    more, same, token = await api.page(CONFIG_MAP, namespace, "app=t", limit=9, token=token)
    assert ([item["metadata"]["name"] for item in more], same, token) == (["c2", "c3", "c4"], version, "")
    assert len(await api.list(CONFIG_MAP, namespace)) == 5
    assert await api.list(CONFIG_MAP, namespace, "app=other") == []


async def test_an_invalid_object_is_refused_with_its_field(api: Kube, namespace: str) -> None:
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "d", "namespace": namespace},
        "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": {"spec": {"containers": []}}},
    }
    with pytest.raises(Invalid) as caught:
        await api.apply(DEPLOYMENT, deployment, force=True)
    assert "spec.template" in caught.value.message


async def test_a_watch_reports_what_happens_and_ends(api: Kube, namespace: str) -> None:
    _, version, _ = await api.page(CONFIG_MAP, namespace)
    await api.create(CONFIG_MAP, config_map(namespace, a="1"))
    await api.patch(CONFIG_MAP, namespace, "settings", {"data": {"a": "2"}})
    await api.create(SECRET, {**config_map(namespace), "kind": "Secret", "data": {}})
    await api.delete(CONFIG_MAP, namespace, "settings")
    seen = [
        (kind, obj["data"]["a"])
        async for kind, obj in api.watch(CONFIG_MAP, namespace, "app=t", version, timeout_s=1)
        if kind != "BOOKMARK"
    ]
    assert seen == [("ADDED", "1"), ("MODIFIED", "2"), ("DELETED", "2")]


async def test_a_restarting_server_costs_time_only(api: Kube, apiserver: ApiServer, namespace: str) -> None:
    await api.create(CONFIG_MAP, config_map(namespace, a="1"))
    apiserver.stop_server()
    applying = asyncio.create_task(api.apply(CONFIG_MAP, config_map(namespace, a="2"), force=True))
    await asyncio.to_thread(apiserver.start_server)
    assert (await applying)["data"] == {"a": "2"}
    with pytest.raises(Gone):  # its memory of changes begins with its start
        [event async for event in api.watch(CONFIG_MAP, namespace, "", "1", timeout_s=1)]


async def test_discovery_reports_which_kinds_there_are(api: Kube) -> None:
    assert {"Deployment", "StatefulSet"} <= await api.served("apps/v1")
    assert await api.served("shops.shopkeeper.dev/v1alpha1") == {"Shop"}
    assert await api.served("nobody.example/v1") == set()


async def test_rights_are_checked(api: Kube, apiserver: ApiServer, namespace: str) -> None:
    async with Kube(apiserver.kubeconfig_for("reader-of-nothing")) as kube:
        with pytest.raises(Exception, match='User "reader-of-nothing" cannot list resource "secrets"') as caught:
            await kube.list(SECRET, namespace)
    assert caught.value.status == 403  # type: ignore[attr-defined]


async def test_an_object_of_an_unknown_namespace_is_not_found(api: Kube) -> None:
    with pytest.raises(NotFound):
        await api.apply(CONFIG_MAP, config_map("no-such-namespace"), force=True)


async def test_writes_are_counted_from_the_audit_log(api: Kube, apiserver: ApiServer, namespace: str) -> None:
    mark = apiserver.mark()
    await api.apply(CONFIG_MAP, config_map(namespace, a="1"), force=True)
    await api.get(CONFIG_MAP, namespace, "settings")
    ours = [str(write) for write in apiserver.writes(mark, user="admin") if write.namespace == namespace]
    assert ours == ["patch configmaps/settings 201"]
