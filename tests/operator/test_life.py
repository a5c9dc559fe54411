"""A Shop's life with a real operator on a real API server: it is created, reported on, left unchanged, and deleted."""

from __future__ import annotations

from pathlib import Path

import pytest

from shop.devkit.testing import wait_until
from shop.operator.kube.client import Kube
from shop.operator.kube.kinds import CLAIM, CONFIG_MAP, DEPLOYMENT, EVENT, JOB, SECRET, SERVICE, SHOP
from shop.operator.kube.objects import FINALIZER, SHOP_LABEL, Object
from tests.operator.apiserver import ApiServer
from tests.operator.kept import ALL_READY, SMALL, Kept
from tests.operator.kubelet import Kubelet
from tests.operator.operators import Operator, Operators

USER = "operator"
RESYNCS = 5
KEPT = {"Secret", "PersistentVolumeClaim"}


async def test_an_applied_shop_becomes_ready_and_says_so(shop: Kept) -> None:
    resource = await shop.resource()
    status = resource["status"]
    conditions = {one["type"]: (one["status"], one["reason"]) for one in status["conditions"]}
    assert conditions == {
        "Ready": ("True", "AllReady"),
        "Progressing": ("False", "Complete"),
        "Degraded": ("False", "AsExpected"),
        "Drifted": ("False", "InStep"),
        "Paused": ("False", "Active"),
    }
    assert status["servicesReady"] == ALL_READY
    assert (status["revision"], status["observedGeneration"]) == (1, 1)
    assert status["url"] == f"http://bookshop-gateway.{shop.namespace}.svc:8000"
    assert "rollout" not in status
    assert resource["metadata"]["finalizers"] == [FINALIZER]


async def test_everything_is_in_the_inventory(shop: Kept) -> None:
    inventory = {entry["id"]: entry for entry in (await shop.status())["inventory"]}
    objects = {str(ref): obj for ref, obj in (await shop.objects()).items()}
    own = {"v1/Secret/bookshop-seed", "v1/Secret/bookshop-history"}
    assert inventory.keys() == objects.keys() - own
    assert all(entry["uid"] == objects[id_]["metadata"]["uid"] for id_, entry in inventory.items())
    assert all(entry["digest"] for entry in inventory.values())


async def test_an_unchanged_shop_is_not_written(
    shop: Kept, operators: Operators, operator: Operator, apiserver: ApiServer, operator_login: Path
) -> None:
    """Over a restart and five resyncs: not one write, from the API server's own log."""
    await operator.stop()
    mark = apiserver.mark()
    again = operators.start(operator_login, shop.namespace, resync_s="1")
    await again.leading()
    await again.resynced(RESYNCS)
    assert apiserver.writes(mark, user=USER) == []
    await again.stop()


async def test_a_deleted_shop_takes_everything_with_it_in_order(shop: Kept, apiserver: ApiServer) -> None:
    mark = apiserver.mark()
    await shop.delete()
    await shop.gone()
    assert await shop.objects() == {}
    assert await shop.api.list(CLAIM, shop.namespace) == []
    deleted = [write.resource for write in apiserver.writes(mark, user=USER) if write.verb == "delete"]
    last = {resource: len(deleted) - deleted[::-1].index(resource) for resource in set(deleted)}
    assert last["deployments"] < deleted.index("statefulsets") + 1
    assert last["statefulsets"] < deleted.index("secrets") + 1


async def test_retained_data_outlives_the_shop_and_serves_the_next(shop: Kept) -> None:
    before = await shop.get(SECRET, "database-order")
    await shop.patch(deletionPolicy="Retain")
    await shop.ready()
    await shop.delete()
    await shop.gone()
    left = {ref.kind for ref in await shop.objects()}
    claims = await shop.api.list(CLAIM, shop.namespace)
    assert (left, len(claims)) == ({"Secret"}, 3)
    await shop.apply({**SMALL, "deletionPolicy": "Retain"})
    await shop.ready()
    after = await shop.get(SECRET, "database-order")
    assert before is not None
    assert after is not None
    assert after["data"] == before["data"]


async def test_a_suspended_shop_is_left_alone(shop: Kept, apiserver: ApiServer) -> None:
    await shop.patch(suspend=True)
    await shop.comes_to("Paused", "Suspended")
    mark = apiserver.mark()
    await shop.api.delete(DEPLOYMENT, shop.namespace, "bookshop-order")
    await shop.patch(services={"product": {"replicas": 2}})
    await shop.until("Paused", lambda found: found["status"] == "True", "still paused")
    assert {write.resource for write in apiserver.writes(mark, user=USER)} <= {"shops"}
    await shop.patch(suspend=False)
    await shop.ready()
    product = await shop.get(DEPLOYMENT, "product")
    assert product is not None
    assert product["spec"]["replicas"] == 2
    assert await shop.get(DEPLOYMENT, "order")


async def test_what_the_spec_names_must_be_there_before_anything_is_made(
    api: Kube, namespace: str, kubelet: Kubelet, operator: Operator
) -> None:
    shop = Kept(api, namespace)
    await shop.apply({"store": {"catalog": {"configMap": "my-books"}}})
    degraded = await shop.comes_to("Degraded", "ConfigMapMissing")
    assert degraded["message"].startswith('store.catalog.configMap: there is no ConfigMap "my-books"')
    assert {ref.name for ref in await shop.objects()} == {"bookshop-seed"}
    books = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "my-books", "namespace": namespace}}
    await api.create(CONFIG_MAP, {**books, "data": {"catalog.json": "[]"}})
    await shop.ready()


@pytest.mark.parametrize(
    ("spec", "reason", "named"),
    [
        ({"messaging": {"mode": "External", "secretName": "my-nats"}}, "SecretMissing", "messaging.secretName"),
        ({"cache": {"mode": "External", "secretName": "my-valkey"}}, "SecretMissing", "cache.secretName"),
        ({"database": {"mode": "External", "secretName": "my-data"}}, "SecretMissing", "database.secretName"),
        (
            {"backup": {"schedule": "0 3 * * *", "destination": "pvc://vault/books"}},
            "PersistentVolumeClaimMissing",
            "backup.destination",
        ),
        (
            {"restoreFrom": {"source": "pvc://vault/books"}},
            "PersistentVolumeClaimMissing",
            "restoreFrom.source",
        ),
        ({"observability": {"rules": True}}, "CannotRender", "observability.rules"),
        (
            {"store": {"taxes": [{"country": "DE", "ratePercent": 7}, {"country": "DE", "ratePercent": 8}]}},
            "InvalidSpec",
            "taxes",
        ),
    ],
)
async def test_what_only_the_operator_can_see_is_reported_as_a_condition(
    api: Kube, namespace: str, operator: Operator, spec: dict[str, object], reason: str, named: str
) -> None:
    shop = Kept(api, namespace)
    await shop.apply(spec)
    degraded = await shop.comes_to("Degraded", reason)
    assert named in degraded["message"]
    assert (await shop.condition("Ready"))["status"] == "False"


@pytest.mark.parametrize(
    "spec",
    [{"ports": [{"port": 1, "name": "mine"}], "selector": {"app": "mine"}}, {"ports": [{"port": 1}]}],
    ids=["another selector", "invalid with our port"],
)
async def test_an_object_of_another_client_is_not_overwritten(
    api: Kube, namespace: str, kubelet: Kubelet, operator: Operator, spec: Object
) -> None:
    body = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "bookshop-order", "namespace": namespace}}
    await api.create(SERVICE, {**body, "spec": spec})
    shop = Kept(api, namespace)
    await shop.apply()
    degraded = await shop.comes_to("Degraded", "NameTaken")
    assert "Service bookshop-order exists already" in degraded["message"]
    theirs = await shop.get(SERVICE, "order")
    assert theirs is not None
    assert [port["port"] for port in theirs["spec"]["ports"]] == [1]
    assert theirs["spec"].get("selector") == spec.get("selector")
    await api.delete(SERVICE, namespace, "bookshop-order")
    await shop.ready()


async def test_two_shops_live_in_one_namespace(shop: Kept, api: Kube, namespace: str, operator: Operator) -> None:
    before = len(await shop.objects())
    other = Kept(api, namespace, "arcade")
    await other.apply()
    await other.ready()
    await other.delete()
    await other.gone()
    assert (await shop.condition("Ready"))["status"] == "True"
    assert len(await shop.objects()) == before


async def test_the_end_of_another_shop_takes_nothing_that_is_labelled_as_its_own(
    shop: Kept, api: Kube, namespace: str
) -> None:
    other = Kept(api, namespace, "arcade")
    await other.apply()
    await other.ready()
    await shop.patch(suspend=True)
    await shop.comes_to("Paused", "Suspended")
    before = {kind: await shop.get(kind, name) for kind, name in ((DEPLOYMENT, "order"), (SECRET, "database-order"))}
    for kind, live in before.items():
        body = {"metadata": {"labels": {SHOP_LABEL: "arcade"}}}
        await api.patch(kind, namespace, (live or {})["metadata"]["name"], body)
    await other.delete()
    await other.gone()
    for kind, live in before.items():
        after = await api.get(kind, namespace, (live or {})["metadata"]["name"])
        assert after is not None
        assert after["metadata"]["uid"] == (live or {})["metadata"]["uid"]
        assert "deletionTimestamp" not in after["metadata"]
    await shop.patch(suspend=False)
    await shop.ready()
    assert {str(ref) for ref in await shop.objects()} >= {
        "apps/v1/Deployment/bookshop-order",
        "v1/Secret/bookshop-database-order",
    }


async def test_a_person_can_read_what_happened(shop: Kept) -> None:
    async def messages() -> list[str]:
        events = await shop.api.list(EVENT, shop.namespace)
        return [event["message"] for event in events if event["reason"] == "Ready"]

    assert await wait_until(messages, 30, "an Event") == ["Revision 1 serves"]


async def test_jobs_run_once(shop: Kept, operator: Operator, operators: Operators, operator_login: Path) -> None:
    before = {obj["metadata"]["uid"] for obj in await shop.api.list(JOB, shop.namespace)}
    await operator.stop()
    again = operators.start(operator_login, shop.namespace)
    await again.leading()
    await shop.patch(services={"order": {"logLevel": "DEBUG"}})
    await shop.until("Ready", lambda found: found["status"] == "True", "True")
    assert {obj["metadata"]["uid"] for obj in await shop.api.list(JOB, shop.namespace)} == before
    await again.stop()


async def test_a_shop_deleted_while_no_operator_runs_is_torn_down_later(
    shop: Kept, operator: Operator, operators: Operators, operator_login: Path
) -> None:
    operator.kill()
    await operator.gone()
    await shop.delete()
    assert (await shop.resource())["metadata"]["deletionTimestamp"]
    again = operators.start(operator_login, shop.namespace)
    await shop.gone()
    assert await shop.objects() == {}
    assert await shop.api.get(SHOP, shop.namespace, shop.name) is None
    await again.stop()
