"""A Shop that begins with a backup: databases, then the backup, then migrations; its own backups at the end."""

from __future__ import annotations

from shop.devkit.testing import wait_until
from shop.operator.kube.client import Kube
from shop.operator.kube.kinds import CLAIM, CRON_JOB, DEPLOYMENT, JOB, POD
from shop.operator.kube.objects import SHOP_LABEL
from tests.operator.kept import LIMIT_S, SMALL, Kept
from tests.operator.kubelet import Kubelet
from tests.operator.operators import Operator
from tests.operator.statuses import Failure

SPEC = {
    **SMALL,
    "backup": {"schedule": "15 3 * * *", "retention": 5, "destination": "pvc://nightly/bookshop"},
    "restoreFrom": {"source": "pvc://nightly/old-bookshop"},
}


async def make_claim(api: Kube, namespace: str) -> None:
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "nightly", "namespace": namespace},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    await api.create(CLAIM, claim)


async def jobs(shop: Kept) -> set[str]:
    """What the Shop's Jobs are for."""
    return {job["metadata"]["labels"]["app.kubernetes.io/name"] for job in await shop.api.list(JOB, shop.namespace)}


async def test_a_backup_is_restored_before_anything_is_migrated(
    api: Kube, namespace: str, kubelet: Kubelet, operator: Operator
) -> None:
    shop = Kept(api, namespace)
    await shop.apply(SPEC)
    degraded = await shop.comes_to("Degraded", "PersistentVolumeClaimMissing")
    assert 'there is no PersistentVolumeClaim "nightly"' in degraded["message"]
    await kubelet.fail("bookshop-restore-*", Failure.unschedulable("the claim is in use elsewhere"))
    await make_claim(api, namespace)

    async def restoring() -> bool:
        return "restore" in await jobs(shop)

    await wait_until(restoring, LIMIT_S, "the restore")
    ready = await shop.until("Ready", lambda found: "in use elsewhere" in found["message"], "the pod's problem")
    assert ready["status"] == "False"
    assert await jobs(shop) == {"provision", "restore"}
    assert await api.list(DEPLOYMENT, namespace) == []
    assert await shop.get(CRON_JOB, "backup") is None

    await kubelet.heal()
    await shop.ready()
    assert await jobs(shop) >= {"provision", "restore", "migrate", "catalogue"}
    schedule = await shop.get(CRON_JOB, "backup")
    assert schedule is not None
    assert schedule["spec"]["schedule"] == "15 3 * * *"


async def test_when_it_is_done_the_backup_may_be_forgotten(
    api: Kube, namespace: str, kubelet: Kubelet, operator: Operator
) -> None:
    shop = Kept(api, namespace)
    await make_claim(api, namespace)
    await shop.apply(SPEC)
    await shop.ready()
    await shop.patch(restoreFrom=None, backup=None)
    await shop.ready()
    assert "restore" not in await jobs(shop)
    assert await shop.get(CRON_JOB, "backup") is None


async def test_the_operator_reports_when_a_backup_was_due_and_when_one_succeeded(
    api: Kube, namespace: str, kubelet: Kubelet, operator: Operator
) -> None:
    shop = Kept(api, namespace)
    await make_claim(api, namespace)
    await shop.apply({**SMALL, "backup": SPEC["backup"]})
    await shop.ready()
    status = {"lastScheduleTime": "2026-05-01T03:00:00Z", "lastSuccessfulTime": "2026-05-01T03:01:00Z"}
    await api.patch(CRON_JOB, namespace, "bookshop-backup", {"status": status}, subresource="status")

    def times() -> dict[str, float]:
        return {which: operator.metric(f"shop_operator_backup_{which}_timestamp_seconds") for which in ("due", "done")}

    await wait_until(lambda: times() == {"due": 1777604400, "done": 1777604460}, LIMIT_S, "both times")
    await shop.patch(backup=None)
    await wait_until(lambda: times() == {"due": 0, "done": 0}, LIMIT_S, "them gone")


async def test_a_backup_that_failed_last_night_is_no_problem_of_a_rollout(shop: Kept, kubelet: Kubelet) -> None:
    """Its Job is kept, and so is its pod; Job and pod bear the Shop's label."""
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": "bookshop-backup-29384", "uid": "1", "controller": True}
    metadata = {
        "name": "bookshop-backup-29384-x",
        "namespace": shop.namespace,
        "labels": {SHOP_LABEL: "bookshop", "app.kubernetes.io/name": "backup"},
        "ownerReferences": [owner],
    }
    container = {"name": "backup", "image": "shop-operator"}
    await shop.api.create(
        POD, {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": [container]}}
    )
    ended = {"exitCode": 1, "reason": "Error", "message": "no such bucket"}
    each = {**container, "imageID": "", "ready": False, "restartCount": 0, "state": {"terminated": ended}}
    status = {"status": {"phase": "Failed", "containerStatuses": [each]}}
    await shop.api.patch(POD, shop.namespace, "bookshop-backup-29384-x", status, subresource="status")
    await kubelet.fail("bookshop-order", Failure())
    await shop.patch(services={"order": {"logLevel": "DEBUG"}})
    await shop.until("Progressing", lambda found: "Deployment bookshop-order: " in found["message"], "order")
    assert (await shop.condition("Degraded"))["status"] == "False"
    assert "backup" not in (await shop.condition("Ready"))["message"]
    await kubelet.heal()
    await shop.ready()
