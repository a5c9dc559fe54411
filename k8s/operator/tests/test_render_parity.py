"""What the operator applies is what `helm template` writes for the same values, and the documented additions."""

from __future__ import annotations

import copy
import json
import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from k8s.operator.tests import shop_specs
from k8s.operator.tests.shop_specs import EVERY_KIND, NAMESPACE, SEED, VERSION, of_the_version_here, renderer
from shop.operator.engine.render import shop_secrets
from shop.operator.engine.render.values import values
from shop.operator.kube.objects import APPLIED, ARGO_CD_IGNORE, KEEP, SHOP_LABEL, Object
from shop.operator.resource import shopfile
from shop.operator.resource.spec import Shop
from tests.charts import helm

SAMPLES = sorted((helm.ROOT / "k8s" / "samples").glob("*.yaml"))
EXAMPLES = 15
OCTAL = frozenset({"defaultMode"})


def rendered_by_helm(shop: Shop) -> list[Object]:
    """The chart's own objects, without hooks; here the schema is read, which the operator passes over."""
    given_values = values(shop, optional=EVERY_KIND, version=VERSION)
    named = shop_secrets.named(shop.metadata.name, given_values)
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        json.dump(named, file, ensure_ascii=False)
        file.flush()
        done = helm.run("template", shop.metadata.name, "charts/shop", "--namespace", NAMESPACE, "--values", file.name)
    assert done.returncode == 0, done.stderr
    found = [obj for obj in yaml.load_all(done.stdout, Loader=yaml.CBaseLoader) if obj]
    return [obj for obj in found if "helm.sh/hook" not in obj["metadata"].get("annotations", {})]


def without_additions(obj: Object) -> Object:
    """`obj` as the chart had it."""
    found = copy.deepcopy(obj)
    metadata = found["metadata"]
    del metadata["annotations"][APPLIED], metadata["namespace"], metadata["labels"][SHOP_LABEL]
    if metadata["annotations"].get(KEEP) == "keep":
        assert {name: metadata["annotations"].pop(name) for name in ARGO_CD_IGNORE} == ARGO_CD_IGNORE
    if not metadata["annotations"]:
        del metadata["annotations"]
    metadata["labels"]["app.kubernetes.io/managed-by"] = "Helm"
    owned = metadata.pop("ownerReferences", None)
    assert (owned is None) == (metadata.get("annotations", {}).get(KEEP) == "keep")
    for labelled in inner(found):
        assert labelled["labels"].pop(SHOP_LABEL) == obj["metadata"]["labels"][SHOP_LABEL]
    if found["kind"] == "Cluster":
        assert found["spec"].pop("inheritedMetadata") == {"labels": {}}
    return found


def inner(found: Object) -> list[dict[str, Any]]:
    """The metadata of what the object has made."""
    spec = found.get("spec", {})
    if found["kind"] == "Cluster":
        return [spec["inheritedMetadata"]]
    if found["kind"] == "CronJob":
        job = spec["jobTemplate"]
        return [job["metadata"], job["spec"]["template"]["metadata"]]
    claims = [claim["metadata"] for claim in spec.get("volumeClaimTemplates", [])]
    return [*([spec["template"]["metadata"]] if "template" in spec else []), *claims]


def as_text(what: Any) -> Any:
    """Scalars as YAML writes them: so is compared with a loader that takes nothing for anything else."""
    if isinstance(what, dict):
        return {name: f"0{part:o}" if name in OCTAL else as_text(part) for name, part in what.items()}
    if isinstance(what, list):
        return [as_text(part) for part in what]
    return what if isinstance(what, str) else json.dumps(what)


def by_title(objects: list[Object]) -> dict[str, Object]:
    found = {f"{obj['kind']}/{obj['metadata']['name']}": obj for obj in objects}
    assert len(found) == len(objects)
    return found


async def assert_parity(shop: Shop) -> None:
    objects = await renderer().render(shop, NAMESPACE, "uid-1", SEED, EVERY_KIND)
    own = [as_text(without_additions(obj)) for obj in objects if obj["kind"] != "Secret"]
    expected, found = by_title(rendered_by_helm(shop)), by_title(own)
    assert found.keys() == expected.keys()
    for title in expected:
        assert found[title] == expected[title], title


@pytest.mark.parametrize("path", SAMPLES, ids=lambda path: path.stem)
async def test_samples_are_rendered_as_helm_does(path: Path) -> None:
    await assert_parity(of_the_version_here(shopfile.load(path)))


# An example takes half a second, so a failing one is shown as it is found.
@settings(
    max_examples=EXAMPLES,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(spec=shop_specs.specs, name=st.sampled_from(("a", "shop", "books-and-more-of-everything-under-the-sun")))
async def test_any_shop_is_rendered_as_helm_does(spec: shop_specs.Spec, name: str) -> None:
    await assert_parity(shop_specs.shop(spec, name[:40]))
