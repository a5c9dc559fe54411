"""spec.version: images and charts of one version together, and no other mix."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest
import yaml

from k8s.operator.tests import shop_specs
from k8s.operator.tests.shop_specs import EVERY_KIND, NAMESPACE, SEED, VERSION, Spec
from shop.operator.engine.render.charts import EARLIER, MAX_EARLIER, Charts, digest_of
from shop.operator.engine.render.renderer import Renderer, find_charts
from shop.operator.engine.render.values import RenderError
from shop.operator.kube.objects import Object
from shop.operator.resource.spec import Shop
from tests.charts import helm
from tests.operator.operators import charts_with

OTHER = "0.8.0"
SAMPLES = sorted((Path(__file__).parents[2] / "samples").glob("*.yaml"))
CARRIED = [path.stem.removeprefix("shop-") for path in (find_charts() / EARLIER).glob("shop-*.tgz")]


@pytest.fixture(scope="session")
def charts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This repository's charts with an archive of a version before."""
    return charts_with(tmp_path_factory.mktemp("versions") / "charts", [OTHER])


@pytest.fixture
def renderer(charts: Path) -> Renderer:
    return Renderer(helm.helm(), charts, VERSION)


def hash_of(renderer: Renderer, spec: Spec) -> str:
    return renderer.inputs_hash(shop_specs.shop(spec), NAMESPACE, SEED, EVERY_KIND)


async def order_of(renderer: Renderer, spec: Spec) -> Object:
    objects = await renderer.render(shop_specs.shop(spec), NAMESPACE, "", SEED, EVERY_KIND)
    return next(one for one in objects if (one["kind"], one["metadata"]["name"]) == ("Deployment", "bookshop-order"))


async def test_an_earlier_version_has_its_charts_and_its_images(renderer: Renderer) -> None:
    order = await order_of(renderer, {"version": OTHER})
    assert order["metadata"]["labels"]["helm.sh/chart"] == f"service-{OTHER}"
    assert order["spec"]["template"]["spec"]["containers"][0]["image"].endswith(f":{OTHER}")
    assert (await order_of(renderer, {"version": VERSION})) == (await order_of(renderer, {}))


async def test_a_version_that_is_not_carried_is_refused_with_those_that_are(renderer: Renderer) -> None:
    refused = rf"spec\.version: this operator has no charts of 0\.7\.0.*it has {VERSION} and {OTHER}"
    with pytest.raises(RenderError, match=refused):
        hash_of(renderer, {"version": "0.7.0"})
    with pytest.raises(RenderError, match=refused):
        await order_of(renderer, {"version": "0.7.0"})


def test_a_shop_that_names_its_version_does_not_follow_the_charts_of_the_operator(charts: Path, tmp_path: Path) -> None:
    newer = charts_with(tmp_path / "charts", [])
    (newer / EARLIER).symlink_to(charts / EARLIER)
    (newer / "shop").unlink()
    (newer / "shop").mkdir()
    (newer / "shop" / "Chart.yaml").write_text("name: shop\nversion: 1.0.0\n")
    before, after = Renderer(helm.helm(), charts, VERSION), Renderer(helm.helm(), newer, "1.0.0")
    assert hash_of(before, {"version": OTHER}) == hash_of(after, {"version": OTHER})
    assert hash_of(before, {}) != hash_of(after, {})
    assert before.release != after.release


async def test_what_the_charts_of_that_version_do_not_know_is_refused(charts: Path, tmp_path: Path) -> None:
    """Leaving such a value out without an error would be an untested combination."""
    archive = charts / EARLIER / f"shop-{OTHER}.tgz"
    with tarfile.open(archive) as packed:
        packed.extractall(tmp_path, filter="data")
    schema = tmp_path / "shop" / "values.schema.json"
    known = json.loads(schema.read_text())
    del known["properties"]["dashboards"]
    schema.write_text(json.dumps(known))
    (tmp_path / EARLIER).mkdir()
    with tarfile.open(tmp_path / EARLIER / archive.name, "w:gz") as packed:
        packed.add(tmp_path / "shop", "shop")
    older = Renderer(helm.helm(), tmp_path, VERSION)
    with pytest.raises(RenderError, match="dashboards"):
        await order_of(older, {"version": OTHER})


@pytest.mark.parametrize("version", [OTHER, *CARRIED])
@pytest.mark.parametrize("file", SAMPLES, ids=lambda file: file.stem)
async def test_every_version_that_is_carried_takes_the_values_of_this_one(
    renderer: Renderer, version: str, file: Path
) -> None:
    shops = [one for one in yaml.safe_load_all(file.read_text(encoding="utf-8")) if one and one["kind"] == "Shop"]
    source = Renderer(helm.helm(), find_charts(), VERSION) if version in CARRIED else renderer
    for found in shops:
        shop = Shop.model_validate({**found, "spec": {**found.get("spec", {}), "version": version}})
        assert await source.render(shop, NAMESPACE, "", SEED, EVERY_KIND)


def test_no_more_are_carried_than_the_limit(tmp_path: Path) -> None:
    (tmp_path / EARLIER).mkdir()
    for number in range(MAX_EARLIER + 1):
        (tmp_path / EARLIER / f"shop-0.{number}.0.tgz").touch()
    with pytest.raises(ValueError, match=f"has {MAX_EARLIER + 1} charts, more than {MAX_EARLIER}"):
        Charts(tmp_path, VERSION)
    assert len(CARRIED) <= MAX_EARLIER


def test_an_archive_and_the_folder_that_it_was_made_of_have_one_hash(charts: Path, tmp_path: Path) -> None:
    with tarfile.open(charts / EARLIER / f"shop-{OTHER}.tgz") as packed:
        packed.extractall(tmp_path, filter="data")
    assert digest_of(charts / EARLIER / f"shop-{OTHER}.tgz") == digest_of(tmp_path / "shop")
