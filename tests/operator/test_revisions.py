"""Changes of a Shop: in waves, migrations first, and rolled back when they do not become ready."""

from __future__ import annotations

from typing import Any

import pytest

from k8s.operator.tests.shop_specs import DATABASES_BY_DEFAULT
from shop.devkit.testing import wait_until
from shop.operator.cluster import operator_requests
from shop.operator.cluster.session import Session
from shop.operator.errors import ShopctlError
from shop.operator.kube.api_errors import ApiError
from shop.operator.kube.client import Kube
from shop.operator.kube.kinds import DEPLOYMENT, JOB, SECRET, Kind
from shop.operator.kube.objects import Object
from shop.operator.resource.spec_modules import Modules
from shop.operator.services import OPTIONAL, SERVICES, WITH_DATABASE
from tests.operator.apiserver import ApiServer
from tests.operator.kept import LIMIT_S, Kept, essence
from tests.operator.kubelet import Kubelet
from tests.operator.operators import Operator
from tests.operator.statuses import Failure

BUDGET = Kind("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets")
POLICY = Kind("admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicy", "validatingadmissionpolicies")
BINDING = Kind(
    "admissionregistration.k8s.io/v1", "ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings"
)
DEADLINE_S = 60
PULL = Failure.image_pull()
CRASH = Failure.crash_loop("relation orders does not exist")


async def generations(shop: Kept) -> dict[str, int]:
    deployments = await shop.api.list(DEPLOYMENT, shop.namespace)
    return {one["metadata"]["name"]: one["metadata"]["generation"] for one in deployments}


async def test_a_new_version_rolls_out_in_waves_migrations_first(shop: Kept, apiserver: ApiServer) -> None:
    mark = apiserver.mark()
    await shop.patch(version="0.2.0")
    resource = await shop.ready()
    writes = [write for write in apiserver.writes(mark, user="operator") if write.verb == "patch"]
    jobs = [place for place, write in enumerate(writes) if write.resource == "jobs" and "migrate" in write.name]
    changed = {write.name: place for place, write in enumerate(writes) if write.resource == "deployments"}
    assert len(jobs) == len(DATABASES_BY_DEFAULT)
    assert max(jobs) < min(changed.values())
    assert changed["bookshop-order"] < changed["bookshop-gateway"]
    assert (resource["status"]["version"], resource["status"]["revision"]) == ("0.2.0", 2)
    assert {service["image"].rpartition(":")[2] for service in resource["status"]["services"]} == {"0.2.0"}
    migrations = [job for job in await shop.api.list(JOB, shop.namespace) if "migrate" in job["metadata"]["name"]]
    assert len(migrations) == len(DATABASES_BY_DEFAULT), "the Jobs of the version before are pruned"


async def test_a_version_brings_its_own_charts(shop: Kept) -> None:
    await shop.patch(version="0.2.0")
    await shop.ready()
    order = await shop.get(DEPLOYMENT, "order")
    assert order is not None
    assert order["spec"]["template"]["spec"]["containers"][0]["image"].endswith(":0.2.0")
    assert order["metadata"]["labels"]["helm.sh/chart"].endswith("-0.2.0")


async def test_a_version_that_the_operator_does_not_carry_is_refused_and_what_serves_goes_on(shop: Kept) -> None:
    before = await generations(shop)
    await shop.patch(version="0.9.0")
    refused = await shop.comes_to("Degraded", "CannotRender")
    assert "spec.version: this operator has no charts of 0.9.0" in refused["message"]
    assert "it has 0.1.0 and 0.2.0, 0.3.0" in refused["message"]
    assert "What was applied before goes on" in refused["message"]
    assert await generations(shop) == before
    await shop.patch(version=None)
    await shop.ready()


async def test_only_what_a_setting_concerns_is_changed(shop: Kept) -> None:
    before = await generations(shop)
    await shop.patch(services={"order": {"replicas": 3}})
    await shop.ready()
    changed = {name for name, generation in (await generations(shop)).items() if before[name] != generation}
    assert changed == {"bookshop-order"}


async def test_what_is_no_longer_wanted_is_pruned(shop: Kept) -> None:
    await shop.patch(podDisruptionBudgets=True, networkPolicies=True)
    await shop.ready()
    more = await shop.objects()
    await shop.patch(podDisruptionBudgets=False, networkPolicies=False)
    await shop.ready()
    gone = {ref.kind for ref in more.keys() - (await shop.objects()).keys()}
    assert gone == {"PodDisruptionBudget", "NetworkPolicy"}
    inventory = {entry["id"] for entry in (await shop.status())["inventory"]}
    assert not any("PodDisruptionBudget" in id_ for id_ in inventory)


async def test_old_pods_find_the_others_until_discovery_by_dns_is_left(shop: Kept, kubelet: Kubelet) -> None:
    await shop.patch(discovery="DNS", rollback="Manual")
    await shop.ready()
    found = await headless(shop)
    assert "bookshop-order-pods" in found
    await kubelet.fail("bookshop-gateway", PULL)
    await shop.patch(discovery="Service")
    await shop.until("Progressing", lambda seen: "bookshop-gateway" in seen["message"], "the gateway's rollout")
    assert await headless(shop) == found
    await kubelet.heal()
    await shop.ready()
    assert await headless(shop) == set()


async def headless(shop: Kept) -> set[str]:
    return {ref.name for ref in await shop.objects() if ref.kind == "Service" and ref.name.endswith("-pods")}


async def test_all_modules_are_turned_on_and_off(shop: Kept) -> None:
    before = await without_history(shop)
    await shop.patch(modules=dict.fromkeys(Modules.model_fields, True))
    assert names(await shop.ready()) == set(SERVICES)
    assert await grpc_address(shop) == "dns:///bookshop-recommendation-grpc:50051"
    jobs = [job["metadata"]["name"] for job in await shop.api.list(JOB, shop.namespace)]
    migrated = {noun for noun in WITH_DATABASE if any(job.startswith(f"bookshop-{noun}-migrate") for job in jobs)}
    assert migrated >= set(WITH_DATABASE) & set(OPTIONAL)
    await shop.patch(modules={name: name == "retail" for name in Modules.model_fields})
    assert names(await shop.ready()) == set(SERVICES) - set(OPTIONAL)
    assert not await grpc_address(shop)
    assert await without_history(shop) == before


def names(resource: Object) -> set[str]:
    return {service["name"] for service in resource["status"]["services"]}


async def without_history(shop: Kept) -> dict[str, Any]:
    return {name: one for name, one in essence(await shop.objects()).items() if not name.endswith("-history")}


async def grpc_address(shop: Kept) -> str:
    """Where the storefront calls recommendation; empty if it does not."""
    storefront = await shop.get(DEPLOYMENT, "storefront")
    assert storefront is not None
    (container,) = storefront["spec"]["template"]["spec"]["containers"]
    return str({one["name"]: one.get("value", "") for one in container["env"]}.get("SHOP_RECOMMENDATION_GRPC_URL", ""))


async def test_switching_to_an_autoscaler_keeps_the_pods(shop: Kept) -> None:
    await shop.patch(services={"order": {"replicas": 4}})
    await shop.ready()
    await shop.patch(services={"order": {"autoscaling": {"minReplicas": 2, "maxReplicas": 6}}})
    await shop.ready()
    order = await shop.get(DEPLOYMENT, "order")
    assert order is not None
    assert order["spec"]["replicas"] == 4


async def test_a_migration_that_fails_changes_no_service_and_is_rolled_back(shop: Kept, kubelet: Kubelet) -> None:
    before = await generations(shop)
    await kubelet.fail("bookshop-order-migrate-*", CRASH, image="*:0.2.0")
    await shop.patch(version="0.2.0")
    failed = await shop.comes_to("Ready", "RolledBack")
    assert "Revision 1 serves again" in failed["message"]
    assert "bookshop-order-migrate" in failed["message"]
    assert "relation orders does not exist" in failed["message"]
    assert (await shop.condition("Degraded"))["status"] == "True"
    assert await generations(shop) == before
    assert (await shop.status())["failure"]["revision"] == 2


async def test_a_rollback_puts_everything_back_and_a_corrected_spec_goes_on(shop: Kept, kubelet: Kubelet) -> None:
    """The services become ready, the gateway does not: the Deployment's own deadline ends it."""
    before = essence(await shop.objects())
    await kubelet.fail("bookshop-gateway", Failure.crash_loop("no such setting"), image="*:0.2.0")
    await shop.patch(version="0.2.0", progressDeadlineSeconds=DEADLINE_S)
    failed = await shop.comes_to("Ready", "RolledBack", DEADLINE_S + LIMIT_S)
    assert "bookshop-gateway" in failed["message"]
    assert essence(await shop.objects()) == before
    assert (await shop.status())["revision"] == 1
    await shop.patch(version="0.3.0")
    await shop.ready()
    assert (await shop.status())["revision"] == 3
    assert "failure" not in await shop.status()


async def test_what_was_rolled_back_is_tried_again_when_a_retry_is_requested(
    shop: Kept, kubelet: Kubelet, session: Session
) -> None:
    with pytest.raises(ShopctlError, match="nothing to try again"):
        await operator_requests.retry(session, "bookshop", timeout_s=LIMIT_S)
    await kubelet.fail("bookshop-order-migrate-*", CRASH, image="*:0.2.0")
    await shop.patch(version="0.2.0")
    await shop.comes_to("Ready", "RolledBack")
    await operator_requests.retry(session, "bookshop", timeout_s=LIMIT_S)
    await shop.until("Ready", lambda found: found["reason"] == "RolledBack", "rolled back once more")
    await kubelet.heal()
    said = await operator_requests.retry(session, "bookshop", timeout_s=LIMIT_S)
    assert "what failed as revision 3 is tried again" in said
    await shop.ready()
    status = await shop.status()
    assert (status["revision"], status.get("failure")) == (4, None)
    assert {one["image"].rpartition(":")[2] for one in status["services"]} == {"0.2.0"}


async def test_back_to_the_spec_that_served_is_ready_again(shop: Kept, kubelet: Kubelet) -> None:
    await kubelet.fail("bookshop-order-migrate-*", CRASH, image="*:0.2.0")
    await shop.patch(version="0.2.0")
    await shop.comes_to("Ready", "RolledBack")
    await shop.patch(version=None)
    await shop.ready()
    status = await shop.status()
    assert (status["revision"], status.get("failure")) == (1, None)


async def test_manual_stays_where_it_failed_and_goes_on_when_it_heals(shop: Kept, kubelet: Kubelet) -> None:
    await kubelet.fail("bookshop-storefront", PULL, image="*:0.2.0")
    await shop.patch(version="0.2.0", rollback="Manual", progressDeadlineSeconds=DEADLINE_S)
    ready = await shop.until("Ready", lambda found: "ImagePull" in found["message"], "the pod's problem")
    assert "storefront" in ready["message"]
    assert ready["status"] != "True"
    await shop.until("Degraded", lambda found: found["reason"] == "DeadlineExceeded", "late", DEADLINE_S + LIMIT_S)
    assert (await shop.status())["rollout"]["revision"] == 2
    await kubelet.heal()
    await shop.ready()


@pytest.mark.parametrize(
    ("name", "failure", "word"),
    [
        ("bookshop-order", PULL, "ImagePullBackOff"),
        ("bookshop-payment", CRASH, "CrashLoopBackOff"),
        ("bookshop-user", Failure.unschedulable(), "Insufficient cpu"),
        ("bookshop-product", Failure.config_error(), "CreateContainerConfigError"),
        ("bookshop-provision-*", CRASH, "relation orders does not exist"),
    ],
    ids=["pull", "crash", "unschedulable", "config", "job"],
)
async def test_a_first_installation_reports_which_pod_and_why_and_goes_on_when_it_heals(
    api: Kube, namespace: str, kubelet: Kubelet, operator: Operator, name: str, failure: Failure, word: str
) -> None:
    await kubelet.fail(name, failure)
    shop = Kept(api, namespace)
    await shop.apply()
    ready = await shop.until("Ready", lambda found: word in found["message"], word)
    assert name.removesuffix("-*") in ready["message"]
    assert (await shop.condition("Degraded"))["status"] == "True"
    await kubelet.heal()
    await shop.ready(LIMIT_S + 60)


async def test_a_shop_that_broke_later_says_what_and_recovers(shop: Kept, kubelet: Kubelet) -> None:
    await kubelet.fail("bookshop-pricing", CRASH)
    ready = await shop.until("Ready", lambda found: found["status"] == "False", "False")
    assert "bookshop-pricing" in ready["message"]
    await kubelet.heal()
    await shop.ready()


async def test_the_last_five_revisions_are_kept(shop: Kept) -> None:
    for replicas in range(2, 8):
        await shop.patch(services={"order": {"replicas": replicas}})
        await shop.ready()
    history = await shop.get(SECRET, "history")
    assert history is not None
    assert sorted(history["data"], key=len) == ["3", "4", "5", "6", "7", "seed"]


async def test_a_spec_changed_during_a_rollout_replaces_it(shop: Kept, kubelet: Kubelet) -> None:
    await kubelet.fail("bookshop-storefront", PULL, image="*:0.2.0")
    await shop.patch(version="0.2.0")
    await shop.until("Ready", lambda found: found["status"] != "True", "rolling")
    await shop.patch(version="0.3.0")
    await shop.ready()
    images = {one["image"].rpartition(":")[2] for one in (await shop.status())["services"]}
    assert images == {"0.3.0"}


async def test_a_refused_object_is_reported_with_the_message_of_the_server(shop: Kept) -> None:
    name = f"no-budgets-{shop.namespace}"
    await shop.api.create(POLICY, policy(name))
    await shop.api.create(BINDING, binding(name, shop.namespace))
    await wait_until(lambda: refused(shop), LIMIT_S, "the policy at work")
    await shop.patch(podDisruptionBudgets=True)
    degraded = await shop.comes_to("Degraded", "Forbidden")
    assert "PodDisruptionBudget bookshop-" in degraded["message"]
    assert "budgets are not wanted here" in degraded["message"]
    await shop.api.delete(BINDING, None, name)
    await shop.api.delete(POLICY, None, name)
    await shop.ready()


def policy(name: str) -> Object:
    """What a platform team might forbid."""
    rule = {
        "apiGroups": ["policy"],
        "apiVersions": ["v1"],
        "operations": ["CREATE"],
        "resources": ["poddisruptionbudgets"],
    }
    no = {"expression": "false", "message": "budgets are not wanted here", "reason": "Forbidden"}
    spec = {"failurePolicy": "Fail", "matchConstraints": {"resourceRules": [rule]}, "validations": [no]}
    return {"apiVersion": POLICY.api_version, "kind": POLICY.kind, "metadata": {"name": name}, "spec": spec}


def binding(name: str, namespace: str) -> Object:
    """The policy counts in one namespace."""
    only = {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}}}
    spec = {"policyName": name, "validationActions": ["Deny"], "matchResources": only}
    return {"apiVersion": BINDING.api_version, "kind": BINDING.kind, "metadata": {"name": name}, "spec": spec}


async def refused(shop: Kept) -> bool:
    """Whether the API server has taken notice of the policy."""
    metadata = {"name": "one-more", "namespace": shop.namespace}
    budget = {"apiVersion": BUDGET.api_version, "kind": BUDGET.kind, "metadata": metadata, "spec": {"minAvailable": 1}}
    try:
        await shop.api.apply(BUDGET, budget, force=True, dry_run=True)
    except ApiError as error:
        return error.status == 403
    return False
