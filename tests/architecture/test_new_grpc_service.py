"""`make new-service KIND=grpc` writes a service with a gRPC server that works and has its place everywhere."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from shop.devkit import generate, manifest
from shop.devkit.generate import stubs
from tests.architecture.project_copy import Project, with_new_service
from tests.architecture.source import ROOT
from tests.charts import generate as charts
from tests.charts.rendering import PRESETS

NOUN = "loyalty"
PROTO = f"{stubs.PROTO}/shop/{NOUN}/v1/{NOUN}.proto"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return with_new_service(tmp_path_factory.mktemp("project"), NOUN, "--kind", "grpc")


def test_only_its_own_folder_and_generated_files_change(project: Project) -> None:
    before, after = project.before, project.after
    new = {name for name in after.keys() - before.keys() if not name.startswith(f"services/{NOUN}/")}
    module = stubs.FOLDER / f"{NOUN}_v1_pb2"
    golden = f"services/contracts/schemas/grpc/shop.{NOUN}.v1.json"
    assert new == {PROTO, golden, f"{module}.py", f"{module}.pyi", f"{module}_grpc.py", f"{module}_grpc.pyi"}
    changed = {name for name, content in before.items() if after.get(name) != content}
    of_charts = [path for path, _ in charts.documents()] + [charts.GOLDEN / f"{name}.yaml" for name in PRESETS]
    assert changed <= {*generate.WRITERS, *(path.relative_to(ROOT).as_posix() for path in of_charts)}


def test_its_own_tests_pass(project: Project) -> None:
    project.passes(f"services/{NOUN}")


def test_architecture_tests_hold_with_it(project: Project) -> None:
    names = ("anatomy", "boundaries", "documents", "generated", "images", "manifests", "package_diagram", "size")
    project.passes(*(f"tests/architecture/test_{name}.py" for name in names))


def test_its_proto_file_has_a_golden_descriptor(project: Project) -> None:
    project.passes("tests/contracts/test_proto_schemas.py")


def test_it_keeps_the_rules(project: Project) -> None:
    project.run("ruff", "check")
    project.run("ruff", "format", "--check")
    cache = ROOT / ".mypy_cache" / "new-service"
    project.run("mypy", f"services/{NOUN}", "services/contracts/src", "k8s/operator/src", "--cache-dir", str(cache))
    assert " 0 broken" in project.lint_imports().stdout


def test_charts_and_the_local_shop_have_its_port(project: Project) -> None:
    project.passes(
        "tests/charts/test_chart_values.py::test_renders_match_the_golden_files",
        "tests/charts/test_chart_values.py::test_every_service_of_the_project_is_in_the_shop",
        "tests/charts/test_chart_objects.py::test_selectors_select_exactly_their_own_pods",
        "tests/charts/test_chart_objects.py::test_every_port_of_a_service_is_a_port_of_its_container",
        "k8s/operator/tests/test_render.py::test_objects_come_in_the_order_of_applying",
        "k8s/operator/tests/test_local_plan.py",
    )
    golden = project.root / charts.GOLDEN.relative_to(ROOT) / "shop.yaml"
    objects = [one for one in yaml.safe_load_all(golden.read_text(encoding="utf-8")) if one]
    services = {one["metadata"]["name"]: one["spec"] for one in objects if one["kind"] == "Service"}
    (headless,) = [spec for name, spec in services.items() if name.endswith(f"{NOUN}-grpc")]
    assert (headless["clusterIP"], headless["ports"][0]["port"]) == ("None", 50_051)
    (policy,) = [
        one["spec"] for one in objects if one["kind"] == "NetworkPolicy" and one["metadata"]["name"].endswith(NOUN)
    ]
    assert {"port": "grpc", "protocol": "TCP"} in policy["ingress"][0]["ports"]
    local = (project.root / "k8s/operator/src/shop/operator/services.py").read_text(encoding="utf-8")
    with_grpc = local[local.index("WITH_GRPC: ") :].partition(")\n")[0]
    assert f'"{NOUN}"' in with_grpc


def test_changed_proto_needs_a_new_generation(project: Project) -> None:
    proto = project.root / PROTO
    right = proto.read_text(encoding="utf-8")
    proto.write_text(right.replace("string note = 2;", "string note = 2;\n  string more = 4;"), encoding="utf-8")
    try:
        refused = project.attempt("pytest", "tests/architecture/test_generated.py", "-p", "no:cacheprovider")
    finally:
        proto.write_text(right, encoding="utf-8")
    assert refused.returncode == 1
    assert "run `make generate`" in refused.stdout


def test_stubs_of_a_removed_proto_are_deleted(project: Project) -> None:
    left = project.root / stubs.FOLDER / "gone_v1_pb2.py"
    left.write_text("", encoding="utf-8")
    assert generate.write(project.root) == [left.relative_to(project.root).as_posix()]
    assert not left.exists()


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("shop/order/v1/orders.proto", "", r"orders\.proto: its path must be shop/order/v1/order\.proto"),
        ("shop/order/order.proto", "", r"its path must be shop/order/v1/order\.proto"),
        ("shop/order/v1/order.proto", "this is no proto", r"order\.proto: protoc refuses it"),
        ("", "", "grpc-port: goes together with services/contracts/proto/shop/order/v1/order.proto"),
    ],
)
def test_wrong_proto_is_an_error_that_names_it(tmp_path: Path, name: str, text: str, message: str) -> None:
    folder = tmp_path / "services" / "order"
    folder.mkdir(parents=True)
    (folder / "pyproject.toml").write_text('[tool.shop]\nmodules = ["retail"]\ngrpc-port = 50051\n', encoding="utf-8")
    if name:
        (tmp_path / stubs.PROTO / name).parent.mkdir(parents=True)
        (tmp_path / stubs.PROTO / name).write_text(text, encoding="utf-8")
    with pytest.raises(manifest.ManifestError, match=message):
        stubs.stubs(tmp_path, manifest.read(tmp_path))
