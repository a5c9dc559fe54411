"""Every Shop of k8s/samples, applied as it stands, becomes ready; what it names is created first, as its head says."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from shop.operator.engine.reconcile.preflight import Prerequisite, prerequisites
from shop.operator.kube.client import Kube
from shop.operator.kube.kinds import CLAIM, JOB, SHOP
from shop.operator.kube.objects import Object
from shop.operator.resource.spec import Shop
from tests.charts import helm
from tests.operator.kept import LIMIT_S, Kept
from tests.operator.kubelet import Kubelet
from tests.operator.operators import Operator

SAMPLES = sorted((helm.ROOT / "k8s" / "samples").glob("*.yaml"))


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda path: path.stem)
async def test_a_sample_becomes_ready_and_is_deleted(
    api: Kube, namespace: str, kubelet: Kubelet, operator: Operator, sample: Path
) -> None:
    resource = yaml.safe_load(sample.read_text(encoding="utf-8"))
    spec = Shop.model_validate(resource).spec
    for one in prerequisites(spec):
        await api.create(one.kind, made(one, namespace))
    shop = Kept(api, namespace, resource["metadata"]["name"])
    resource["metadata"]["namespace"] = namespace
    await api.apply(SHOP, resource, force=True, manager="kubectl")
    ready = await shop.ready(2 * LIMIT_S)
    assert ready["status"]["servicesReady"] == f"{len(spec.nouns)}/{len(spec.nouns)}"
    await shop.delete()
    await shop.gone()
    assert {ref.kind for ref in await shop.objects()} <= ({"Secret"} if spec.deletion_policy == "Retain" else set())


async def test_the_api_server_accepts_the_job_of_the_samples(api: Kube, namespace: str) -> None:
    job = yaml.safe_load((helm.ROOT / "k8s" / "samples" / "jobs" / "fleet.yaml").read_text(encoding="utf-8"))
    job["metadata"]["namespace"] = namespace
    applied = await api.apply(JOB, job, force=True, manager="kubectl")
    assert applied["spec"]["template"]["spec"]["containers"][0]["args"][0] == "--url=http://foodcourt-gateway:8000"


def made(one: Prerequisite, namespace: str) -> Object:
    """An object that has what the sample asks of it."""
    body: Object = {"apiVersion": one.kind.api_version, "kind": one.kind.kind}
    body["metadata"] = {"name": one.name, "namespace": namespace}
    if one.kind is CLAIM:
        return {**body, "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}}
    return {**body, "data": dict.fromkeys(one.keys, "eA==")}
