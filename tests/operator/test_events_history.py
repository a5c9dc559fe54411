"""Events and histories as a real API server takes them."""

from __future__ import annotations

import base64
import random

import pytest

from shop.devkit.testing import wait_until
from shop.operator.engine.cache.store import Cache, child_from_object
from shop.operator.engine.reconcile.apply import Blocked
from shop.operator.engine.reconcile.drift import digest
from shop.operator.engine.reconcile.history import KEPT, MAX_BYTES, Revisions, encode, revisions_of
from shop.operator.engine.status import event_recorder as events
from shop.operator.engine.status.event_recorder import EventRecorder
from shop.operator.kube.api_errors import Conflict
from shop.operator.kube.client import Kube
from shop.operator.kube.kinds import CONFIG_MAP, EVENT, SECRET, SHOP
from shop.operator.kube.objects import SHOP_LABEL, NamespacedName, Object

SEED = bytes(range(32))


def a_revision(number: int) -> list[Object]:
    """Objects that differ in one word."""
    metadata = {"name": "bookshop-order", "namespace": "shops"}
    return [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"REVISION": str(number)}}]


async def a_shop(api: Kube, namespace: str) -> Object:
    metadata = {"name": "bookshop", "namespace": namespace}
    return await api.create(SHOP, {"apiVersion": SHOP.api_version, "kind": SHOP.kind, "metadata": metadata, "spec": {}})


class Histories:
    """Revisions of one Shop, and a cache that a test shows what it should know."""

    def __init__(self, api: Kube, namespace: str) -> None:
        self.api = api
        self.key = NamespacedName(namespace, "bookshop")
        self.cache = Cache(lambda _: None)
        self.revisions = Revisions(api, self.cache)

    async def secret(self) -> Object | None:
        return await self.api.get(SECRET, self.key.namespace, "bookshop-history")

    async def show(self) -> None:
        """The cache takes the Secret as its informer would."""
        live = await self.secret()
        self.cache.child_changed(
            NamespacedName(self.key.namespace, "bookshop-history"), None, child_from_object(live) if live else None
        )

    async def numbers(self) -> list[int]:
        return sorted(revisions_of(await self.secret() or {}))

    async def save(self, number: int) -> None:
        await self.revisions.save(self.key, number, a_revision(number), SEED)


@pytest.fixture
def histories(api: Kube, namespace: str) -> Histories:
    return Histories(api, namespace)


async def test_a_revision_is_kept_and_comes_back(histories: Histories) -> None:
    await histories.save(1)
    assert await histories.revisions.load(histories.key, 1) == a_revision(1)
    assert await histories.revisions.seed(histories.key) == SEED


async def test_the_last_revisions_are_kept(histories: Histories) -> None:
    for number in range(1, KEPT + 4):
        await histories.save(number)
    assert await histories.numbers() == [4, 5, 6, 7, 8]
    assert await histories.revisions.load(histories.key, 4) == a_revision(4)
    with pytest.raises(Blocked, match="holds no revision 3 to go back to"):
        await histories.revisions.load(histories.key, 3)


async def test_the_same_revision_again_writes_nothing(histories: Histories) -> None:
    await histories.save(1)
    before = await histories.secret()
    await histories.save(1)
    after = await histories.secret()
    assert before is not None
    assert after is not None
    assert after["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]


async def test_the_largest_history_fits(histories: Histories) -> None:
    noise = base64.b85encode(random.Random(1).randbytes(MAX_BYTES // 2)).decode()
    large = [{**a_revision(1)[0], "data": {"NOISE": noise}}]
    assert MAX_BYTES // 2 < len(encode(large)) < MAX_BYTES
    await histories.revisions.save(histories.key, 1, large, SEED)
    assert await histories.revisions.load(histories.key, 1) == large
    await histories.revisions.save(histories.key, 2, [*large, *a_revision(2)], SEED)
    assert await histories.numbers() == [2]


async def test_a_history_is_created_again_only_when_it_is_gone(histories: Histories) -> None:
    assert histories.revisions.lost(histories.key)
    await histories.revisions.save(histories.key, 3, a_revision(3), SEED)
    assert await histories.revisions.load(histories.key, 3) == a_revision(3)
    await histories.show()
    assert not histories.revisions.lost(histories.key)


async def test_a_history_of_another_client_is_left_alone(histories: Histories) -> None:
    metadata = {"name": "bookshop-history", "namespace": histories.key.namespace}
    await histories.api.create(
        SECRET, {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"a": "b"}}
    )
    with pytest.raises(Blocked, match="was not made for this Shop"):
        await histories.save(1)
    live = await histories.secret()
    assert live is not None
    assert live["data"] == {"a": "Yg=="}


async def test_a_history_that_cannot_be_read_says_so(histories: Histories) -> None:
    await histories.save(1)
    broken = {"data": {"1": base64.b64encode(b"no revision").decode()}}
    await histories.api.patch(SECRET, histories.key.namespace, "bookshop-history", broken)
    with pytest.raises(Blocked, match="revision 1 cannot be read"):
        await histories.revisions.load(histories.key, 1)


async def test_of_two_leaders_one_is_refused(histories: Histories, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that has lost the Lease without knowing must not write an older history over a newer one."""
    await histories.save(1)
    stale = await histories.secret()
    await histories.save(2)
    late = Revisions(histories.api, histories.cache)

    async def what_it_saw(_: NamespacedName) -> Object | None:
        return stale

    monkeypatch.setattr(late, "_get", what_it_saw)
    with pytest.raises(Conflict):
        await late.save(histories.key, 3, a_revision(3), SEED)
    assert await histories.numbers() == [1, 2]


async def test_a_history_belongs_to_its_shop_and_has_a_digest(histories: Histories) -> None:
    await histories.save(1)
    live = await histories.secret()
    assert live is not None
    child = child_from_object(live)
    assert child.shop == histories.key
    assert live["metadata"]["labels"][SHOP_LABEL] == "bookshop"
    assert child.digest == digest(live)


async def test_what_is_reported_of_a_shop_is_found_with_it(api: Kube, namespace: str) -> None:
    shop = await a_shop(api, namespace)
    recorder = EventRecorder(api)
    recorder.record(shop, "Normal", "RollingOut", "Revision 1 is being rolled out")
    recorder.record(shop, "Warning", "ImagePullBackOff", "Deployment bookshop-order: image cannot be pulled")
    recorder.record(shop, "Warning", "ImagePullBackOff", "Deployment bookshop-order: image cannot be pulled")
    await recorder.write_due()
    found = {event["reason"]: event for event in await api.list(EVENT, namespace)}
    assert {reason: event["count"] for reason, event in found.items()} == {"RollingOut": 1, "ImagePullBackOff": 2}
    assert found["RollingOut"]["involvedObject"]["uid"] == shop["metadata"]["uid"]
    assert found["RollingOut"]["type"] == "Normal"
    assert recorder.dropped == 0


async def test_another_process_goes_on_with_the_count(
    api: Kube, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = await a_shop(api, namespace)
    monkeypatch.setattr(events, "REPEAT_S", 0.0)
    for _ in range(3):
        recorder = EventRecorder(api)
        recorder.record(shop, "Warning", "SecretMissing", "there is no Secret")
        await recorder.write_due()
        recorder.record(shop, "Warning", "SecretMissing", "there is no Secret")
        await recorder.write_due()
    (event,) = await api.list(EVENT, namespace)
    assert event["count"] == 6


async def test_an_event_deleted_by_another_client_comes_back(
    api: Kube, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = await a_shop(api, namespace)
    monkeypatch.setattr(events, "REPEAT_S", 0.0)
    recorder = EventRecorder(api)
    recorder.record(shop, "Normal", "Ready", "Revision 1 serves")
    await recorder.write_due()
    (event,) = await api.list(EVENT, namespace)
    await api.delete(EVENT, namespace, event["metadata"]["name"])
    recorder.record(shop, "Normal", "Ready", "Revision 1 serves")
    await recorder.write_due()
    await wait_until(lambda: api.list(EVENT, namespace), what="the Event")


async def test_a_shop_may_say_anything(api: Kube, namespace: str) -> None:
    shop = await a_shop(api, namespace)
    recorder = EventRecorder(api)
    recorder.record(shop, "Warning", "R" * 200, 'Bücher ✓ "quoted" \n' + "m" * 3_000)
    recorder.record(shop, "Warning", "Empty", "")
    await recorder.write_due()
    assert len(await api.list(EVENT, namespace)) == 2


async def test_the_server_stores_a_config_map_as_a_history_would_give_it_back(histories: Histories) -> None:
    """What went through a history is applied without a difference."""
    namespace = histories.key.namespace
    first = {**a_revision(1)[0], "metadata": {"name": "bookshop-order", "namespace": namespace}}
    live = await histories.api.apply(CONFIG_MAP, first, force=True)
    await histories.revisions.save(histories.key, 1, [first], SEED)
    (again,) = await histories.revisions.load(histories.key, 1)
    assert await histories.api.apply(CONFIG_MAP, again, force=True) == live
