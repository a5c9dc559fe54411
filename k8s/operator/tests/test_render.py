"""Rendering a Shop: order, additions, determinism, and refusals in the Shop's own words."""

from __future__ import annotations

import asyncio
import copy
import hashlib
import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st

from k8s.operator.tests import shop_specs
from k8s.operator.tests.shop_specs import EVERY_KIND, NAMESPACE, SEED, VERSION, Spec, renderer
from shop.operator.engine.render import renderer as render
from shop.operator.engine.render.renderer import HelmNotFound, Renderer, find_charts, find_helm
from shop.operator.engine.render.values import RenderError
from shop.operator.kube.kinds import RENDERED, kind_of, wave_of
from shop.operator.kube.objects import APPLIED, KEEP, MANAGER, SHOP_LABEL, Object
from shop.operator.resource import shopfile
from shop.operator.services import EDGE, WITH_DATABASE, WITH_GRPC
from tests.charts import helm
from tests.charts.test_chart_objects import validator

BOOKSHOP = helm.ROOT / "k8s" / "samples" / "bookshop.yaml"
FULL: Spec = {
    "store": {"catalog": {"configMap": "wares"}},
    "services": {"order": {"autoscaling": {"maxReplicas": 3}}},
    "database": {"mode": "CloudNativePG", "instances": 3},
    "exposure": {"type": "Gateway", "host": "shop.example.com", "gatewayRef": {"name": "public"}},
    "observability": {"serviceMonitors": True, "rules": True, "dashboards": True},
    "networkPolicies": True,
    "podDisruptionBudgets": True,
    "backup": {"schedule": "15 3 * * *", "destination": "pvc://backups"},
    "restoreFrom": {"source": "pvc://backups"},
}
HASHED = re.compile(r"-[0-9a-f]{8}$")
# Waves and what is applied in them, in this order, for k8s/samples/bookshop.yaml; hashes in names are left out.
STORES = ("nats", "postgres", "valkey")
SECRETS = ("nats", "postgres", "shop-admin", "shop-internal", "shop-keys", "valkey")
RUNNING = shopfile.load(BOOKSHOP).spec.nouns
BEHIND = [noun for noun in RUNNING if noun not in EDGE]
DATABASES = [noun for noun in RUNNING if noun in WITH_DATABASE]
GOLDEN_ORDER = {
    "CONFIG": {
        "Secret": sorted((*SECRETS, *(f"database-{noun}" for noun in DATABASES))),
        "ConfigMap": ["nats", "postgres", "provision"],
        "ServiceAccount": sorted(RUNNING),
        "Service": sorted((*RUNNING, *STORES, *(f"{noun}-grpc" for noun in RUNNING if noun in WITH_GRPC))),
        "NetworkPolicy": sorted((*RUNNING, *STORES, "default-deny")),
    },
    "STORES": {"StatefulSet": list(STORES)},
    "PROVISION": {"Job": ["provision"]},
    "MIGRATE": {"Job": sorted(f"{noun}-migrate" for noun in DATABASES)},
    "SERVICES": {"ConfigMap": ["streams"], "Deployment": sorted(BEHIND), "PodDisruptionBudget": sorted(BEHIND)},
    "EDGE": {"Deployment": sorted(EDGE), "PodDisruptionBudget": sorted(EDGE)},
    "ROUTES": {"Job": ["catalogue"]},
}


async def objects_of(spec: Spec, name: str = "bookshop", uid: str = "uid-1") -> list[Object]:
    return await renderer().render(shop_specs.shop(spec, name), NAMESPACE, uid, SEED, EVERY_KIND)


async def test_objects_come_in_the_order_of_applying() -> None:
    found: dict[str, dict[str, list[str]]] = {}
    for obj in await renderer().render(shopfile.load(BOOKSHOP), NAMESPACE, "uid-1", SEED, frozenset()):
        name = HASHED.sub("", obj["metadata"]["name"].removeprefix("bookshop-"))
        found.setdefault(wave_of(obj).name, {}).setdefault(obj["kind"], []).append(name)
    assert json.dumps(found) == json.dumps(GOLDEN_ORDER), "dumped, because the order of keys counts"


async def test_every_object_reports_whose_it_is() -> None:
    for obj in await objects_of(FULL):
        metadata = obj["metadata"]
        assert metadata["namespace"] == NAMESPACE
        assert metadata["labels"][SHOP_LABEL] == "bookshop"
        assert metadata["labels"]["app.kubernetes.io/managed-by"] == MANAGER
        assert metadata["labels"]["app.kubernetes.io/instance"] == "bookshop"
        assert metadata["name"].startswith("bookshop-")
        assert kind_of(obj) in RENDERED


async def test_what_may_outlive_the_shop_is_not_owned_by_it() -> None:
    objects = await objects_of(FULL)
    kept = {obj["kind"] for obj in objects if "ownerReferences" not in obj["metadata"]}
    assert kept == {"Secret", "Cluster"}
    for obj in objects:
        if "ownerReferences" in obj["metadata"]:
            (owner,) = obj["metadata"]["ownerReferences"]
            assert (owner["kind"], owner["name"], owner["uid"], owner["controller"]) == (
                "Shop",
                "bookshop",
                "uid-1",
                True,
            )
        else:
            assert obj["metadata"]["annotations"][KEEP] == "keep"


async def test_a_shop_that_does_not_exist_yet_owns_nothing() -> None:
    assert not [obj for obj in await objects_of(FULL, uid="") if "ownerReferences" in obj["metadata"]]


async def test_the_annotation_is_a_hash_of_the_object_without_it() -> None:
    for obj in await objects_of(FULL):
        bare = copy.deepcopy(obj)
        given_hash = bare["metadata"]["annotations"].pop(APPLIED)
        text = json.dumps(bare, sort_keys=True, separators=(",", ":"))
        assert hashlib.sha256(text.encode()).hexdigest()[:16] == given_hash


async def test_pods_and_claims_carry_the_shop() -> None:
    for obj in [*await objects_of(FULL), *await objects_of({})]:
        spec = obj.get("spec", {})
        pod = spec.get("jobTemplate", {}).get("spec", spec).get("template")
        made = [part["metadata"] for part in (pod, *spec.get("volumeClaimTemplates", [])) if part]
        assert all(metadata["labels"][SHOP_LABEL] == "bookshop" for metadata in made)
        if obj["kind"] == "Cluster":
            assert spec["inheritedMetadata"]["labels"] == {SHOP_LABEL: "bookshop"}


async def test_no_hook_of_helm_is_applied() -> None:
    objects = await objects_of(FULL)
    assert not [obj for obj in objects if "helm.sh/hook" in obj["metadata"].get("annotations", {})]
    assert not [obj for obj in objects if obj["kind"] == "Pod"]


@pytest.mark.parametrize("spec", [{}, FULL], ids=["small", "full"])
async def test_kubernetes_takes_every_object(spec: Spec) -> None:
    wrong = []
    for obj in await objects_of(spec, "a" * 40):
        assert len(obj["metadata"]["name"]) <= 63, obj["metadata"]["name"]
        errors = validator(obj["kind"], obj["apiVersion"]).iter_errors(obj)
        wrong += [f"{obj['kind']}: {error.instance_path}: {error.message}" for error in errors]
    assert wrong == []


async def test_two_shops_of_a_namespace_share_no_name_and_no_pod() -> None:
    first, second = await objects_of(FULL, "books"), await objects_of(FULL, "books-order")
    titles = [{(obj["kind"], obj["metadata"]["name"]) for obj in objects} for objects in (first, second)]
    assert not titles[0] & titles[1]
    for obj in first:
        assert selectors(obj) <= {"books"}, obj["metadata"]["name"]


def selectors(what: Any) -> set[str]:
    """The instances that selectors anywhere in `what` ask for."""
    if isinstance(what, list):
        return set().union(*map(selectors, what))
    if not isinstance(what, dict):
        return set()
    own = {what["app.kubernetes.io/instance"]} if "app.kubernetes.io/instance" in what else set()
    return own.union(*map(selectors, what.values()))


async def test_names_of_one_kind_never_add_up_to_those_of_another_shop() -> None:
    """A Shop `a` and a Shop `a-b` would meet if a name without its Shop ended in another such name."""
    own: dict[str, set[str]] = {}
    for obj in [*await objects_of(FULL), *await objects_of({})]:
        own.setdefault(obj["kind"], set()).add(obj["metadata"]["name"].removeprefix("bookshop-"))
    clashes = [
        (kind, longer, shorter)
        for kind, names in own.items()
        for longer in names
        for shorter in names
        if longer.endswith(f"-{shorter}")
    ]
    assert clashes == []


async def test_equal_input_gives_equal_output() -> None:
    several = await asyncio.gather(*(objects_of(FULL) for _ in range(4)))
    fresh = await Renderer(helm.helm(), find_charts(), VERSION).render(
        shop_specs.shop(FULL), NAMESPACE, "uid-1", SEED, EVERY_KIND
    )
    assert len({json.dumps(objects) for objects in [*several, fresh]}) == 1


def input_hash(spec: Spec, seed: bytes = SEED, name: str = "bookshop") -> str:
    return renderer().inputs_hash(shop_specs.shop(spec, name), NAMESPACE, seed, EVERY_KIND)


@pytest.mark.parametrize(
    "changed",
    [
        {"suspend": True},
        {"deletionPolicy": "Retain"},
        {"rollback": "Manual"},
        {"progressDeadlineSeconds": 60},
        {"maintenanceWindow": {"days": ["Sat"]}},
        {"version": VERSION},
        {"services": {"order": {"replicas": 1}}},
        {"observability": {"tracing": {"sampleRatio": 0.5}}},
    ],
    ids=str,
)
async def test_what_changes_no_object_does_not_change_the_hash(changed: Spec) -> None:
    assert input_hash(changed) == input_hash({})
    assert await objects_of(changed) == await objects_of({})


def test_the_hash_follows_everything_else_that_objects_depend_on() -> None:
    shop = shop_specs.shop()
    other = Renderer(helm.helm(), find_charts(), "0.9.2")
    hashes = [
        input_hash({}),
        input_hash({}, name="other"),
        input_hash({}, seed=b"other"),
        renderer().inputs_hash(shop, "elsewhere", SEED, EVERY_KIND),
        other.inputs_hash(shop, NAMESPACE, SEED, EVERY_KIND),
    ]
    assert len(set(hashes)) == len(hashes)


@pytest.mark.parametrize(
    ("file", "counts"),
    [
        ("values.yaml", True),
        ("Chart.yaml", True),
        ("files/rules/shop.yaml", True),
        ("templates/_helpers.tpl", True),
        ("charts/service/templates/_deployment.tpl", True),
        ("charts/service/values.yaml", True),
        ("README.md", False),
        ("values-kind.yaml", False),
        ("templates/NOTES.txt", False),
        ("templates/tests/buy.yaml", False),
        ("charts/service/values.schema.json", False),
    ],
)
def test_the_hash_follows_the_files_of_the_chart_that_make_objects(file: str, counts: bool, tmp_path: Path) -> None:
    shutil.copytree(find_charts() / "shop", tmp_path / "shop", symlinks=False)
    hashes = []
    for _ in range(2):
        copied = Renderer(helm.helm(), tmp_path, VERSION)
        hashes.append(copied.inputs_hash(shop_specs.shop(), NAMESPACE, SEED, EVERY_KIND))
        with (tmp_path / "shop" / file).open("a") as changed:
            changed.write("\n")
    assert hashes[0] == input_hash({})
    assert (hashes[1] != hashes[0]) is counts


def test_a_kind_that_the_shop_does_not_use_does_not_change_the_hash() -> None:
    shop = shop_specs.shop()
    assert renderer().inputs_hash(shop, NAMESPACE, SEED, frozenset()) == input_hash({})


@settings(max_examples=10, phases=[Phase.explicit, Phase.generate], suppress_health_check=[HealthCheck.too_slow])
@given(first=shop_specs.specs, second=shop_specs.specs, part=st.data())
async def test_the_hash_changes_with_the_objects(first: Spec, second: Spec, part: st.DataObject) -> None:
    assume(second)
    field = part.draw(st.sampled_from(sorted(second)))
    changed = {**first, field: second[field]}
    same = await objects_of(first) == await objects_of(changed)
    assert (input_hash(first) == input_hash(changed)) == same


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        ({"database": {"mode": "CloudNativePG"}}, "spec.database.mode: CloudNativePG needs the operator of"),
        (
            {"exposure": {"type": "Gateway", "host": "a.example", "gatewayRef": {"name": "g"}}},
            "spec.exposure.type: Gateway needs the Gateway API in the cluster, which serves no HTTPRoute",
        ),
        (
            {"observability": {"serviceMonitors": True}},
            "spec.observability.serviceMonitors needs the Prometheus operator",
        ),
        ({"observability": {"rules": True}}, "spec.observability.rules needs the Prometheus operator"),
        (
            {"modules": {"retail": False}},
            "spec.modules.retail: must be true, because every shop sells",
        ),
        (
            {"services": {"order": {"resources": {"requests": {"cpu": "1"}, "limits": {"cpu": "500m"}}}}},
            "spec.services.order.resources.requests.cpu: 1 is more than the limit of 500m",
        ),
    ],
    ids=lambda part: part if isinstance(part, str) else "",
)
async def test_what_cannot_be_is_refused_by_its_field(spec: Spec, sentence: str) -> None:
    shop = shop_specs.shop(spec)
    with pytest.raises(RenderError, match=f"^{re.escape(sentence)}"):
        await renderer().render(shop, NAMESPACE, "uid-1", SEED, frozenset())
    with pytest.raises(RenderError, match=f"^{re.escape(sentence)}"):
        renderer().inputs_hash(shop, NAMESPACE, SEED, frozenset())


AT = "execution error at (shop/templates/services.yaml:2:4): "


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (
            f"Error: {AT}services.order.autoscaling.maxReplicas (1) must be at least minReplicas (2)",
            "spec.services.order.autoscaling.maxReplicas (1) must be at least minReplicas (2)",
        ),
        (
            f"level=INFO msg=x\nError: {AT}database.instances is 3, but mode Bundled has one",
            "spec.database.instances is 3, but mode Bundled has one",
        ),
        (
            f"Error: {AT}services.gateway.ingress.enabled needs services.gateway.ingress.host",
            "spec.exposure needs spec.exposure.host",
        ),
        ("Error: Chart.yaml file is missing", "the charts could not be rendered: Chart.yaml file is missing"),
    ],
)
def test_what_helm_says_names_the_fields_of_the_shop(said: str, expected: str) -> None:
    assert render.translate_helm_error(said) == expected


async def test_a_chart_that_cannot_be_rendered_is_an_error_and_not_a_crash(tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    broken = Renderer(helm.helm(), tmp_path, VERSION)
    with pytest.raises(RenderError, match="the charts could not be rendered: unable to detect chart"):
        await broken.render(shop_specs.shop(), NAMESPACE, "", SEED, EVERY_KIND)


def script(folder: Path, text: str) -> Path:
    program = folder / "helm"
    program.write_text(f"#!/bin/sh\n{text}\n")
    program.chmod(0o755)
    return program


async def test_a_helm_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[asyncio.subprocess.Process] = []
    start = asyncio.create_subprocess_exec

    async def noted(*command: Any, **options: Any) -> asyncio.subprocess.Process:
        started.append(await start(*command, **options))
        return started[-1]

    monkeypatch.setattr(asyncio, "create_subprocess_exec", noted)
    monkeypatch.setattr(render, "HELM_TIMEOUT_S", 0.2)
    hanging = Renderer(script(tmp_path, "exec /bin/sleep 600"), find_charts(), VERSION)
    with pytest.raises(RenderError, match="helm did not finish within"):
        await hanging.render(shop_specs.shop(), NAMESPACE, "", SEED, EVERY_KIND)
    assert [Path(f"/proc/{one.pid}").exists() for one in started] == [False]


async def test_only_so_many_helms_run_at_once(tmp_path: Path) -> None:
    log = tmp_path / "log"
    counting = script(tmp_path, f'echo + >> "{log}"; /bin/cat > /dev/null; /bin/sleep 0.05; echo - >> "{log}"')
    limited = Renderer(counting, find_charts(), VERSION)
    await asyncio.gather(
        *(
            limited.render(shop_specs.shop(), NAMESPACE, "", SEED, EVERY_KIND)
            for _ in range(3 * render.MAX_HELM_PROCESSES)
        )
    )
    running = peak = 0
    for line in log.read_text().split():
        running += 1 if line == "+" else -1
        peak = max(peak, running)
    assert running == 0
    assert peak == render.MAX_HELM_PROCESSES


def test_helm_and_charts_are_found_where_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = script(tmp_path, "")
    monkeypatch.setenv(render.HELM_VARIABLE, str(program))
    assert find_helm() == program
    (tmp_path / "shop").mkdir()
    (tmp_path / "shop" / "Chart.yaml").touch()
    monkeypatch.setenv(render.CHARTS_VARIABLE, str(tmp_path))
    assert find_charts() == tmp_path


def test_without_helm_the_message_says_where_it_was_searched(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(render.HELM_VARIABLE, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(render, "_CACHED_HELM", tmp_path / "helm")
    with pytest.raises(HelmNotFound, match=render.HELM_VARIABLE):
        find_helm()
