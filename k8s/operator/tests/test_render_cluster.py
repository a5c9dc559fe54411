"""What rendering takes from the cluster, and what it says to other controllers there."""

from __future__ import annotations

from pathlib import Path

import pytest

from k8s.operator.tests import shop_specs
from k8s.operator.tests.shop_specs import EVERY_KIND, NAMESPACE, SEED, VERSION
from k8s.operator.tests.test_render import script
from shop.operator.engine.reconcile import history
from shop.operator.engine.render.renderer import Renderer, find_charts
from shop.operator.engine.render.values import RenderError
from shop.operator.kube.objects import ARGO_CD_IGNORE, NamespacedName
from tests.charts import helm


async def test_helm_gets_the_clusters_version_and_kinds(tmp_path: Path) -> None:
    recorder = Renderer(
        script(tmp_path, f'echo "$@" > "{tmp_path}/arguments"; /bin/cat > /dev/null'), find_charts(), VERSION
    )
    recorder.kube_version = "v1.35.2"
    await recorder.render(shop_specs.shop(), NAMESPACE, "", SEED, frozenset({"ServiceMonitor"}))
    arguments = (tmp_path / "arguments").read_text()
    assert "--kube-version v1.35.2 --api-versions monitoring.coreos.com/v1/ServiceMonitor" in arguments
    assert "HTTPRoute" not in arguments


async def test_a_cluster_that_the_charts_do_not_support_is_named() -> None:
    renderer = Renderer(helm.helm(), find_charts(), VERSION)
    renderer.kube_version = "v1.29.6"
    with pytest.raises(RenderError, match=r"incompatible with Kubernetes v1\.29\.6"):
        await renderer.render(shop_specs.shop(), NAMESPACE, "", SEED, EVERY_KIND)


async def test_what_has_no_owner_is_not_argo_cds_to_delete() -> None:
    renderer = Renderer(helm.helm(), find_charts(), VERSION)
    objects = await renderer.render(shop_specs.shop(), NAMESPACE, "uid", SEED, EVERY_KIND)
    free = [obj for obj in objects if "ownerReferences" not in obj["metadata"]]
    key = NamespacedName(NAMESPACE, "bookshop")
    assert len(free) > 5
    for obj in (*free, history.seed_secret(key, SEED), history.secret_of(key, {}, SEED)):
        assert ARGO_CD_IGNORE.items() <= obj["metadata"]["annotations"].items()
