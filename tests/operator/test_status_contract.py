"""A Shop's status while something does not become ready, and what serves meanwhile, as docs/operator.md says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from shop.devkit.testing import wait_until
from shop.operator.cluster.overview import summary
from shop.operator.engine.status.conditions import TYPES
from shop.operator.kube.api_errors import ApiError
from shop.operator.kube.kinds import DEPLOYMENT, EVENT, SECRET, SHOP, Kind
from shop.operator.kube.objects import Object
from tests.operator.kept import ALL_READY, Kept
from tests.operator.kubelet import Kubelet
from tests.operator.operators import Operator, Operators
from tests.operator.statuses import Failure, settled

POLICY = Kind("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicy", "validatingadmissionpolicies")
BINDING = Kind(
    "admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings"
)
BROKEN = "example.org/order:broken"
OUT_OF_COLUMNS = 'Traceback (most recent call last):\n  File "m.py"\nUndefinedColumn: column "sku" does not exist'


async def break_order(shop: Kept, kubelet: Kubelet, failure: Failure) -> None:
    """An upgrade of the order service whose pods fail so."""
    await kubelet.fail("bookshop-order", failure, image=BROKEN)
    await shop.patch(services={"order": {"image": BROKEN}})


async def make_late(shop: Kept) -> None:
    """As if the rollout under way had begun long ago."""
    rollout = (await shop.status())["rollout"]
    begun = datetime.now(UTC) - timedelta(seconds=700)
    body = {"status": {"rollout": {**rollout, "startedAt": begun.strftime("%Y-%m-%dT%H:%M:%SZ")}}}
    await shop.api.patch(SHOP, shop.namespace, shop.name, body, subresource="status")


async def image_of_order(shop: Kept) -> str:
    order = await shop.get(DEPLOYMENT, "order")
    assert order is not None
    image: str = order["spec"]["template"]["spec"]["containers"][0]["image"]
    return image


async def test_a_new_shop_names_the_pod_that_does_not_start(new: Kept, kubelet: Kubelet) -> None:
    await kubelet.fail("bookshop-order", Failure.image_pull("manifest unknown"))
    await new.apply()
    ready = await new.comes_to("Ready", "ImagePullBackOff")
    assert ready["status"] == "False"
    assert ready["message"].startswith("Deployment bookshop-order: pod bookshop-order-")
    assert "cannot be pulled: manifest unknown" in ready["message"]
    assert [one["type"] for one in (await new.status())["conditions"]] == list(TYPES)
    assert (await new.condition("Degraded"))["reason"] == "ImagePullBackOff"
    assert (await new.condition("Progressing"))["reason"] == "Installing"
    assert await new.get(DEPLOYMENT, "gateway") is None
    await kubelet.heal()
    await new.ready()
    assert (await new.condition("Degraded"))["status"] == "False"


async def test_a_new_shop_reports_why_its_migration_fails_and_tries_again(new: Kept, kubelet: Kubelet) -> None:
    await kubelet.fail("bookshop-order-migrate-*", Failure.crash_loop(OUT_OF_COLUMNS))
    await new.apply()
    ready = await new.comes_to("Ready", "BackoffLimitExceeded")
    assert "Job bookshop-order-migrate-" in ready["message"]
    assert 'UndefinedColumn: column "sku" does not exist' in ready["message"]
    assert await new.get(DEPLOYMENT, "order") is None
    assert settled((await new.status())["conditions"], 1)


async def test_an_upgrade_with_problems_leaves_the_old_pods_serving(shop: Kept, kubelet: Kubelet) -> None:
    await break_order(shop, kubelet, Failure.image_pull())
    degraded = await shop.comes_to("Degraded", "ImagePullBackOff")
    assert f"image {BROKEN} cannot be pulled" in degraded["message"]
    ready = await shop.condition("Ready")
    assert (ready["status"], ready["reason"]) == ("Unknown", "RollingOut")
    assert ready["message"].endswith("What served before goes on.")
    assert (await shop.status())["servicesReady"] == ALL_READY
    await kubelet.heal()
    await shop.ready()
    assert (await shop.status())["revision"] == 2


async def rolled_back(shop: Kept) -> Object:
    """The Ready condition, once the first revision serves again."""
    ready = await shop.comes_to("Ready", "RolledBack")
    status = await shop.status()
    assert ready["status"] == "False"
    assert ready["message"].startswith("Revision 1 serves again. Revision 2 was given up: ")
    assert (status["revision"], status["failure"]["revision"], "rollout" in status) == (1, 2, False)
    assert (await shop.condition("Degraded"))["reason"] == "RolledBack"
    assert settled(status["conditions"], (await shop.resource())["metadata"]["generation"])
    assert summary(status["conditions"]).startswith("Not ready (RolledBack): Revision 1 serves again.")
    return ready


async def test_an_upgrade_past_its_deadline_is_rolled_back_and_says_why(shop: Kept, kubelet: Kubelet) -> None:
    before = await image_of_order(shop)
    await break_order(shop, kubelet, Failure.crash_loop("ValueError: no such store"))
    await shop.comes_to("Degraded", "CrashLoopBackOff")
    assert await image_of_order(shop) == BROKEN
    await make_late(shop)
    ready = await rolled_back(shop)
    assert "not healthy within 600 s: Deployment bookshop-order: " in ready["message"]
    assert "container order: CrashLoopBackOff: exit code 1: ValueError: no such store" in ready["message"]
    assert await image_of_order(shop) == before
    events = {event["reason"]: event for event in await shop.api.list(EVENT, shop.namespace)}
    assert events["RollingBack"]["type"] == "Warning"
    assert events["RollingBack"]["message"].endswith("going back to revision 1")
    await shop.patch(services={"order": {"image": None}})
    await shop.ready()
    assert "failure" not in await shop.status()


async def serving(shop: Kept) -> tuple[str, str]:
    status = await shop.status()
    return status["version"], status["url"]


async def test_version_and_url_are_those_of_what_serves(new: Kept, kubelet: Kubelet) -> None:
    """Not of what the spec asks for: while it comes, after it was rolled back, or while the Shop is suspended."""
    inside, outside = f"http://bookshop-gateway.{new.namespace}.svc:8000", "http://books.example.com"
    await kubelet.fail("bookshop-order", Failure.image_pull())
    await new.apply()
    await new.comes_to("Ready", "ImagePullBackOff")
    assert await serving(new) == ("0.1.0", inside), "nothing served before: what it is to become"
    await kubelet.heal()
    await new.ready()
    await kubelet.fail("bookshop-order", Failure.crash_loop(), image="*:0.2.0")
    await new.patch(version="0.2.0", exposure={"type": "Ingress", "host": "books.example.com"})
    await new.comes_to("Degraded", "CrashLoopBackOff")
    assert await serving(new) == ("0.1.0", inside)
    await make_late(new)
    await rolled_back(new)
    assert await serving(new) == ("0.1.0", inside)
    await new.patch(suspend=True, version="0.3.0")
    await new.comes_to("Paused", "Suspended")
    assert await serving(new) == ("0.1.0", inside)
    await new.patch(suspend=False)
    await new.ready()
    assert await serving(new) == ("0.3.0", outside)


async def test_time_in_which_a_shop_is_suspended_is_no_part_of_its_deadline(shop: Kept, kubelet: Kubelet) -> None:
    await break_order(shop, kubelet, Failure.crash_loop())
    await shop.comes_to("Degraded", "CrashLoopBackOff")
    await shop.patch(suspend=True)
    await shop.comes_to("Paused", "Suspended")
    await make_late(shop)
    await shop.patch(suspend=False)
    await shop.comes_to("Paused", "Active")
    assert (await shop.condition("Progressing"))["reason"] == "RollingOut"
    await kubelet.heal()
    await shop.ready()
    assert (await shop.status())["revision"] == 2


async def test_time_in_which_no_operator_leads_is_no_part_of_the_deadline(
    shop: Kept, kubelet: Kubelet, operator: Operator, operators: Operators, operator_login: Path
) -> None:
    await break_order(shop, kubelet, Failure.crash_loop())
    await shop.comes_to("Degraded", "CrashLoopBackOff")
    await operator.stop()
    await make_late(shop)
    again = operators.start(operator_login, shop.namespace, resync_s="1")
    await again.leading()
    await again.resynced()
    assert (await shop.condition("Progressing"))["reason"] == "RollingOut"
    await kubelet.heal()
    await shop.ready()
    assert (await shop.status())["revision"] == 2
    await again.stop()


async def deny(shop: Kept, image: str) -> None:
    """Admission refuses Deployments with that image."""
    name = f"deny-{shop.namespace}"
    rule = {
        "apiGroups": ["apps"],
        "apiVersions": ["v1"],
        "resources": ["deployments"],
        "operations": ["CREATE", "UPDATE"],
    }
    condition = {
        "expression": f"object.spec.template.spec.containers.all(one, one.image != '{image}')",
        "message": "this image is not signed",
        "reason": "Forbidden",
    }
    spec = {"matchConstraints": {"resourceRules": [rule]}, "validations": [condition]}
    metadata = {"name": name}
    await shop.api.create(
        POLICY, {"apiVersion": POLICY.api_version, "kind": POLICY.kind, "metadata": metadata, "spec": spec}
    )
    only_here = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": shop.namespace}}}
    spec = {"policyName": name, "validationActions": ["Deny"], "matchResources": only_here}
    await shop.api.create(
        BINDING, {"apiVersion": POLICY.api_version, "kind": BINDING.kind, "metadata": metadata, "spec": spec}
    )


async def test_an_upgrade_that_admission_refuses_is_rolled_back_at_its_deadline(shop: Kept) -> None:
    before = await image_of_order(shop)
    await deny(shop, BROKEN)
    labels = {"app": "probe"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "a", "image": BROKEN}]}}
    probe = {
        "apiVersion": DEPLOYMENT.api_version,
        "kind": DEPLOYMENT.kind,
        "metadata": {"name": "probe", "namespace": shop.namespace},
        "spec": {"selector": {"matchLabels": labels}, "template": template},
    }

    async def enforced() -> bool:
        try:
            await shop.api.apply(DEPLOYMENT, probe, force=True, dry_run=True)
        except ApiError:
            return True
        return False

    await wait_until(enforced, 30, "the policy in force")
    await shop.patch(services={"order": {"image": BROKEN}})
    degraded = await shop.comes_to("Degraded", "Forbidden")
    assert degraded["message"].startswith("Deployment bookshop-order: ")
    assert "this image is not signed" in degraded["message"]
    await make_late(shop)
    ready = await rolled_back(shop)
    assert "this image is not signed" in ready["message"]
    assert await image_of_order(shop) == before


async def test_what_waiting_cannot_cure_is_not_waited_for(shop: Kept, kubelet: Kubelet) -> None:
    await break_order(shop, kubelet, Failure("InvalidImageName", "invalid reference format"))
    ready = await rolled_back(shop)
    assert "InvalidImageName: invalid reference format" in ready["message"]


async def test_a_lost_history_is_created_again_and_a_rollback_still_has_a_revision(
    shop: Kept, kubelet: Kubelet
) -> None:
    before = await image_of_order(shop)
    await shop.api.delete(SECRET, shop.namespace, "bookshop-history")
    await wait_until(lambda: shop.get(SECRET, "history"), what="the history made anew")
    await break_order(shop, kubelet, Failure("InvalidImageName", "invalid reference format"))
    await rolled_back(shop)
    assert await image_of_order(shop) == before
