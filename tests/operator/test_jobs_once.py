"""What has happened is not done again: Jobs that completed, a backup that was restored; and what lost its label."""

from __future__ import annotations

import base64

from shop.operator.engine.reconcile.apply import apply
from shop.operator.kube.client import Kube
from shop.operator.kube.kinds import CLAIM, JOB, SECRET
from shop.operator.kube.objects import ARGO_CD_IGNORE, SHOP_LABEL, NamespacedName, Object
from tests.operator.kept import SMALL, Kept
from tests.operator.kubelet import Kubelet
from tests.operator.operators import Operator
from tests.operator.test_backup_waves import SPEC, jobs, make_claim

CHANGED = {"order": {"logLevel": "DEBUG"}}


async def clean_up(shop: Kept) -> None:
    """As the controller does with finished Jobs whose time to live has passed."""
    for job in await shop.api.list(JOB, shop.namespace):
        await shop.api.delete(JOB, shop.namespace, job["metadata"]["name"])


async def test_a_completed_job_that_was_cleaned_up_is_not_run_again(shop: Kept) -> None:
    assert {"provision", "migrate"} <= await jobs(shop)
    await clean_up(shop)
    await shop.patch(services=CHANGED)
    await shop.ready()
    assert await jobs(shop) == set()
    status = await shop.status()
    done = [entry["id"] for entry in status["inventory"] if entry.get("done")]
    assert len(done) == sum("/Job/" in entry["id"] for entry in status["inventory"]) > 0


async def test_a_backup_is_asked_for_until_it_is_restored(
    api: Kube, namespace: str, kubelet: Kubelet, operator: Operator
) -> None:
    shop = Kept(api, namespace)
    await make_claim(api, namespace)
    await shop.apply({**SMALL, "restoreFrom": SPEC["restoreFrom"]})
    await shop.ready()
    await clean_up(shop)
    await api.patch(CLAIM, namespace, "nightly", {"metadata": {"finalizers": None}})
    await api.delete(CLAIM, namespace, "nightly")
    await shop.patch(services=CHANGED)
    assert (await shop.ready())["status"]["revision"] == 2
    assert await jobs(shop) == set()


async def unlabel(shop: Kept, name: str) -> None:
    """Take the label away while no operator repairs it."""
    await shop.patch(suspend=True)
    await shop.comes_to("Paused", "Suspended")
    await shop.change(SECRET, name, {"metadata": {"labels": {SHOP_LABEL: None}}})


async def test_a_secret_without_its_label_is_pruned(shop: Kept) -> None:
    given = {key: base64.b64encode(b"nats").decode() for key in ("password", "url")}
    mine: Object = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "mine", "namespace": shop.namespace}}
    await shop.api.create(SECRET, {**mine, "data": given})
    await unlabel(shop, "nats")
    await shop.patch(suspend=None, messaging={"secretName": "mine"})
    await shop.ready()
    assert await shop.get(SECRET, "nats") is None
    assert await shop.api.get(SECRET, shop.namespace, "mine") is not None


async def test_a_secret_without_its_label_goes_with_its_shop(shop: Kept) -> None:
    await unlabel(shop, "nats")
    await shop.delete()
    await shop.gone()
    assert await shop.get(SECRET, "nats") is None


async def test_a_job_that_cannot_be_changed_is_created_again(api: Kube, namespace: str) -> None:
    """A later operator may put other labels on the pods of a Job whose name has not changed."""

    def job(team: str) -> Object:
        pod = {"restartPolicy": "Never", "containers": [{"name": "job", "image": "job"}]}
        template = {"metadata": {"labels": {"team": team}}, "spec": pod}
        metadata = {"name": "bookshop-job", "namespace": namespace}
        return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": {"template": template}}

    first = await apply(api, NamespacedName(namespace, "bookshop"), job("a"), None)
    uid = first["metadata"]["uid"]
    second = await apply(api, NamespacedName(namespace, "bookshop"), job("b"), None, uid)
    assert second["metadata"]["uid"] != uid
    assert second["spec"]["template"]["metadata"]["labels"]["team"] == "b"


async def test_the_seed_of_an_earlier_operator_is_protected_from_argo_cd(shop: Kept) -> None:
    without = {"metadata": {"annotations": dict.fromkeys(ARGO_CD_IGNORE)}}
    await shop.change(SECRET, "seed", without)
    await shop.patch(services=CHANGED)
    await shop.ready()
    for name in ("seed", "history"):
        secret = await shop.get(SECRET, name)
        assert secret is not None
        assert ARGO_CD_IGNORE.items() <= secret["metadata"]["annotations"].items()
