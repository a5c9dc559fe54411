"""Whose an object is: a Shop that was created again under its name, and objects that the spec names."""

from __future__ import annotations

import contextlib

import pytest

from shop.devkit.testing import wait_until
from shop.operator.kube.api_errors import NotFound
from shop.operator.kube.client import Kube
from shop.operator.kube.kinds import SECRET, SHOP
from shop.operator.kube.objects import FINALIZER, Object, Ref
from tests.operator.kept import LIMIT_S, SMALL, Kept
from tests.operator.kubelet import Kubelet
from tests.operator.operators import Operator
from tests.operator.statuses import Failure

REPLACEMENTS = 3
NATS = "bookshop-nats"


async def replace(shop: Kept, spec: Object) -> str:
    """As `kubectl replace --force`, without waiting for the operator to let the old one go; the new uid."""
    old = (await shop.resource())["metadata"]["uid"]
    await shop.delete()
    with contextlib.suppress(NotFound):  # it had no finalizer yet
        await shop.api.patch(SHOP, shop.namespace, shop.name, {"metadata": {"finalizers": None}})
    new: str = (await shop.apply(spec))["metadata"]["uid"]
    assert new != old
    return new


async def owners(shop: Kept) -> set[str]:
    """The uids that the Shop's objects name as their owner."""
    found = (await shop.objects()).values()
    return {owner["uid"] for obj in found for owner in obj["metadata"].get("ownerReferences", ())}


async def test_a_shop_that_is_created_again_owns_all_its_objects(
    api: Kube, namespace: str, kubelet: Kubelet, operator: Operator
) -> None:
    """In the middle of a rollout, when most is remembered about the one before, and without a restart."""
    shop = Kept(api, namespace)
    await kubelet.fail("bookshop-order", Failure())
    await shop.apply()

    async def rolling() -> bool:
        return len((await shop.status()).get("inventory", ())) > 50 and len(await shop.objects()) > 50

    for _ in range(REPLACEMENTS):
        await wait_until(rolling, LIMIT_S, "most objects")
        uid = await replace(shop, SMALL)
    await kubelet.heal()
    await shop.ready()
    assert await owners(shop) == {uid}
    assert (await shop.status())["revision"] == 1


async def test_a_status_is_not_written_into_another_shop_of_that_name(shop: Kept, operator: Operator) -> None:
    uid = await replace(shop, SMALL)
    resource = await shop.ready()
    assert resource["metadata"]["uid"] == uid
    assert FINALIZER in resource["metadata"]["finalizers"]
    assert {entry["uid"] for entry in resource["status"]["inventory"]} == {
        obj["metadata"]["uid"] for ref, obj in (await shop.objects()).items() if ref.name not in OPERATORS_OWN
    }


OPERATORS_OWN = {"bookshop-seed", "bookshop-history"}


@pytest.fixture
async def external(shop: Kept) -> Kept:
    """A Shop whose messages now go to a server of the user's, by the Secret that was once made for the bundled one."""
    await shop.patch(messaging={"mode": "External", "secretName": NATS})
    await shop.ready()
    return shop


async def test_a_secret_that_the_spec_names_is_not_pruned(external: Kept) -> None:
    secret = await external.api.get(SECRET, external.namespace, NATS)
    assert secret is not None
    assert set(secret["data"]) == {"password", "url"}
    assert await external.api.get(SECRET, external.namespace, "bookshop-valkey") is not None
    listed = {entry["id"] for entry in (await external.status())["inventory"]}
    assert str(Ref("v1", "Secret", NATS)) not in listed, "it is the user's from now on"


async def test_a_secret_that_the_spec_names_outlives_the_shop(external: Kept) -> None:
    await external.delete()
    await external.gone()
    assert await external.api.get(SECRET, external.namespace, NATS) is not None
    assert await external.api.get(SECRET, external.namespace, "bookshop-valkey") is None


@pytest.mark.parametrize("name", ["bookshop-valkey", "bookshop-seed", "bookshop-shop-internal"])
async def test_a_secret_that_is_made_for_the_shop_cannot_be_named(shop: Kept, name: str) -> None:
    before = await shop.api.get(SECRET, shop.namespace, name)
    await shop.patch(messaging={"mode": "External", "secretName": name})
    refused = await shop.until("Degraded", lambda found: found["status"] == "True", "refused")
    assert refused["reason"] in ("NameTaken", "SecretIncomplete")
    assert name in refused["message"]
    after = await shop.api.get(SECRET, shop.namespace, name)
    assert before is not None
    assert after is not None
    assert before["data"] == after["data"]
