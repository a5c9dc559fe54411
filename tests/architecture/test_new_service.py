"""`make new-service` writes a service that works and has its place everywhere, with a gRPC server or without.

The commands of that target run in a copy of the project, once for each kind, where the project's own tests check what
they made.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
import yaml

from shop.devkit import generate, scaffold
from shop.devkit.generate import stubs
from shop.devkit.processes import free_port
from tests.architecture.project_copy import Outcomes, Project, with_new_services
from tests.architecture.source import ROOT
from tests.charts import generate as charts
from tests.charts.rendering import PRESETS

NOUN = "loyalty"
PATH = "/api/v1/loyalties"
GRPC_NOUN = "wishlist"
MODULE = "rewards"
KINDS = {NOUN: "http", GRPC_NOUN: "grpc"}
FOLDERS = tuple(f"services/{noun}" for noun in KINDS)
PROTO = f"{stubs.PROTO}/shop/{GRPC_NOUN}/v1/{GRPC_NOUN}.proto"
REQUEST_TIMEOUT_S = 10.0
MYPY_CACHE = ".mypy_cache"
ALIKE = (
    "tests/architecture/test_boundaries.py::test_no_mechanism_is_written_twice",
    "tests/contracts/test_api_document.py::test_names_of_operations_are_unique",
)
"""What the two services break together, because they are written from the same templates."""


ARCHITECTURE = "tests/architecture"
OF_ALL_SERVICES = (
    "tests/charts/test_chart_values.py::test_renders_match_the_golden_files",
    "tests/charts/test_chart_values.py::test_every_service_of_the_project_is_in_the_shop",
    "tests/charts/test_chart_objects.py::test_selectors_select_exactly_their_own_pods",
    "tests/charts/test_chart_objects.py::test_every_port_of_a_service_is_a_port_of_its_container",
    "tests/charts/test_skaffold.py",
    "k8s/operator/tests/test_render.py::test_objects_come_in_the_order_of_applying",
    "k8s/operator/tests/test_shop_spec.py",
    "k8s/operator/tests/test_shop_crd.py",
    "k8s/operator/tests/test_local_plan.py",
    "tests/contracts/test_api_document.py",
    "tests/contracts/test_proto_schemas.py",
    "tests/contracts/test_unknown_fields.py",
    "services/gateway/tests/test_gateway_routing.py",
)
OF_MODULES = (
    "k8s/operator/tests/test_modules.py",
    "k8s/operator/tests/test_values.py",
    "k8s/operator/tests/test_render.py::test_objects_come_in_the_order_of_applying",
    "tests/charts/test_chart_values.py::test_every_service_of_the_project_is_in_the_shop",
    "services/gateway/tests/test_gateway_routing.py",
)
OF_STUBS = "tests/architecture/test_generated.py::test_generated_stubs_are_current"
SLOW = ("test_wheels.py", "test_shell_scripts.py", "test_database_isolation.py", "test_proto_stubs.py")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return with_new_services(tmp_path_factory.mktemp("project"), KINDS)


@pytest.fixture(scope="module")
def outcomes(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Outcomes:
    """Of the copy's tests, in one run: a start of pytest, and of the servers that tests use, takes seconds."""
    ignored = (f"--ignore={ARCHITECTURE}/{name}" for name in SLOW)
    deselected = (f"--deselect={test}" for test in ALIKE)
    report = tmp_path_factory.mktemp("report") / "outcomes.xml"
    return project.outcomes(report, *FOLDERS, ARCHITECTURE, *OF_ALL_SERVICES, *ignored, *deselected)


class Changed(NamedTuple):
    """What the copy's tests said after other changes, and what its Shop was."""

    outcomes: Outcomes
    crd: str


@pytest.fixture(scope="module")
def changed(project: Project, outcomes: Outcomes, tmp_path_factory: pytest.TempPathFactory) -> Changed:
    """With one of the services alone, in a module of its own, and a .proto file that changed since the generation.

    In one run, as above; the copy is then as it was.
    """
    report = tmp_path_factory.mktemp("report") / "changed.xml"
    own_module = (f"services/{NOUN}/pyproject.toml", 'modules = ["retail"]', f'modules = ["{MODULE}"]')
    with project.without(f"services/{GRPC_NOUN}"), project.edited(*own_module):
        generate.write(project.root)
        crd = project.run("shop.operator.resource.crd")
        with project.edited(PROTO, "string note = 2;", "string note = 2;\n  string more = 4;"):
            found = project.outcomes(report, *ALIKE, *OF_MODULES, OF_STUBS)
    generate.write(project.root)
    return Changed(found, crd)


def test_only_their_own_folders_and_generated_files_change(project: Project) -> None:
    before, after = project.before, project.after
    assert before.keys() <= after.keys()
    new = {name for name in after.keys() - before.keys() if not name.startswith(tuple(f"{path}/" for path in FOLDERS))}
    changed = {name for name, content in before.items() if after[name] != content}
    of_charts = [path for path, _ in charts.documents()] + [charts.GOLDEN / f"{name}.yaml" for name in PRESETS]
    module, golden = stubs.FOLDER / f"{GRPC_NOUN}_v1_pb2", f"services/contracts/schemas/grpc/shop.{GRPC_NOUN}.v1.json"
    assert new == {PROTO, golden, f"{module}.py", f"{module}.pyi", f"{module}_grpc.py", f"{module}_grpc.pyi"}
    assert changed <= {*generate.WRITERS, *(path.relative_to(ROOT).as_posix() for path in of_charts)}
    assert changed >= set(generate.WRITERS), "each names every service"


@pytest.mark.parametrize("folder", FOLDERS)
def test_their_own_tests_pass(outcomes: Outcomes, folder: str) -> None:
    outcomes.passed(folder)


def test_architecture_tests_hold_with_them(outcomes: Outcomes) -> None:
    outcomes.passed(ARCHITECTURE)


@pytest.mark.parametrize("tests", OF_ALL_SERVICES)
def test_charts_gateway_and_shop_resource_have_them(outcomes: Outcomes, tests: str) -> None:
    outcomes.passed(tests)


def test_charts_and_the_local_shop_have_the_grpc_port(project: Project) -> None:
    golden = project.root / charts.GOLDEN.relative_to(ROOT) / "shop.yaml"
    objects = [one for one in yaml.safe_load_all(golden.read_text(encoding="utf-8")) if one]
    services = {one["metadata"]["name"]: one["spec"] for one in objects if one["kind"] == "Service"}
    (headless,) = [spec for name, spec in services.items() if name.endswith(f"{GRPC_NOUN}-grpc")]
    assert (headless["clusterIP"], headless["ports"][0]["port"]) == ("None", 50_051)
    (policy,) = [
        one["spec"] for one in objects if one["kind"] == "NetworkPolicy" and one["metadata"]["name"].endswith(GRPC_NOUN)
    ]
    assert {"port": "grpc", "protocol": "TCP"} in policy["ingress"][0]["ports"]
    local = (project.root / "k8s/operator/src/shop/operator/services.py").read_text(encoding="utf-8")
    with_grpc = local[local.index("WITH_GRPC: ") :].partition(")\n")[0]
    assert f'"{GRPC_NOUN}"' in with_grpc


def test_they_keep_the_rules(project: Project) -> None:
    project.run("ruff", "check")
    project.run("ruff", "format", "--check")
    # mypy knows paths below the project's root and times, which are the same here: it checks what differs.
    if (ROOT / MYPY_CACHE).exists():
        shutil.copytree(ROOT / MYPY_CACHE, project.root / MYPY_CACHE)
    sources = ("services/contracts/src", "services/gateway/src", "k8s/operator/src")
    project.run("mypy", *FOLDERS, *sources)
    assert " 0 broken" in project.lint_imports().stdout


def test_stubs_of_a_removed_proto_are_deleted(project: Project) -> None:
    left = project.root / stubs.FOLDER / "gone_v1_pb2.py"
    left.write_text("", encoding="utf-8")
    assert generate.write(project.root) == [left.relative_to(project.root).as_posix()]
    assert not left.exists()


@pytest.mark.parametrize(
    ("forbidden", "broken"),
    [("shop.order.domain", "No service imports another"), ("shop.kit.db", "A domain does no input or output")],
)
def test_import_contracts_hold_for_it(project: Project, forbidden: str, broken: str) -> None:
    domain = project.root / "services" / NOUN / "src" / "shop" / NOUN / "domain.py"
    right = domain.read_text(encoding="utf-8")
    domain.write_text(f"{right}\nimport {forbidden}\n", encoding="utf-8")
    try:
        refused = project.lint_imports()
    finally:
        domain.write_text(right, encoding="utf-8")
    assert refused.returncode == 1
    assert f"{broken} BROKEN" in refused.stdout


def test_one_of_them_is_like_no_other_service(changed: Changed) -> None:
    changed.outcomes.passed(*ALIKE)


def test_changed_proto_needs_a_new_generation(changed: Changed) -> None:
    assert "run `make generate`" in changed.outcomes.failure(OF_STUBS)


def test_a_new_module_needs_its_name_in_the_manifest_alone(changed: Changed) -> None:
    changed.outcomes.passed(*OF_MODULES)
    assert MODULE in changed.crd


@pytest.fixture
def url(project: Project, servers_folder: Path) -> Iterator[str]:
    """The gateway of a shop that runs the copy's services."""
    data, port = servers_folder / "new-service", free_port()
    options = ("--data-dir", str(data))
    project.run("shop.operator.cli", "up", "k8s/samples/bookshop.yaml", "--detach", "--port", str(port), *options)
    try:
        status = json.loads(project.run("shop.operator.cli", "status", "--json", *options))
        running = {component["name"]: component for component in status["components"]}
        assert running[f"{NOUN}-1"]["healthy"]
        yield f"http://127.0.0.1:{port}"
    finally:
        project.run("shop.operator.cli", "down", "--delete-data", "--yes", *options)


@pytest.mark.shop
def test_it_runs_in_a_shop_behind_the_gateway(url: str) -> None:
    account = {"email": "ada@example.com", "password": "correct horse battery", "name": "Ada"}
    with httpx.Client(base_url=url, timeout=REQUEST_TIMEOUT_S) as client:
        assert client.get(PATH).status_code == 401
        assert client.post("/api/v1/users", json=account).status_code == 201
        token = client.post("/api/v1/tokens", json={name: account[name] for name in ("email", "password")}).json()
        headers = {"Authorization": f"Bearer {token['access_token']}"}
        made = client.post(PATH, json={"note": "first"}, headers=headers)
        assert made.status_code == 201
        assert [one["id"] for one in client.get(PATH, headers=headers).json()["items"]] == [made.json()["id"]]
        assert PATH in client.get("/openapi.json").json()["paths"]


@pytest.mark.parametrize("folder", FOLDERS)
def test_nothing_of_the_template_is_left(project: Project, folder: str) -> None:
    texts = {
        path: path.read_text(encoding="utf-8")
        for path in (project.root / folder).rglob("*.*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert not [path for path, text in texts.items() if "{{" in text or path.suffix == scaffold.SUFFIX]


@pytest.mark.parametrize("name", ["Loyalty", "loyalty-points", "1st", "x", "class", "kit", "a" * 32, "../evil", ""])
def test_name_that_cannot_be_a_package_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(scaffold.ScaffoldError, match="cannot name a service"):
        scaffold.new_service(tmp_path, name)


def test_existing_service_is_not_touched() -> None:
    with pytest.raises(scaffold.ScaffoldError, match="there already"):
        scaffold.new_service(ROOT, "order")


def test_folder_that_is_no_project_is_refused(tmp_path: Path) -> None:
    with pytest.raises(scaffold.ScaffoldError, match="not the project's root"):
        scaffold.new_service(tmp_path, NOUN)


def test_path_of_another_service_is_refused_and_nothing_is_left(tmp_path: Path) -> None:
    order = tmp_path / "services" / "order" / "pyproject.toml"
    order.parent.mkdir(parents=True)
    order.write_text('[tool.shop]\nmodules = ["retail"]\napi = ["orders"]\n', encoding="utf-8")
    (tmp_path / "pyproject.toml").write_text("[project]\n", encoding="utf-8")
    with pytest.raises(scaffold.ScaffoldError, match="api: orders leads to"):
        scaffold.new_service(tmp_path, NOUN, "orders")
    assert [path.name for path in (tmp_path / "services").iterdir()] == ["order"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["pyproject.toml", "services"]


@pytest.mark.parametrize(
    ("noun", "plural"), [("order", "orders"), ("loyalty", "loyalties"), ("delay", "delays"), ("box", "boxes")]
)
def test_path_is_the_plural(noun: str, plural: str) -> None:
    assert scaffold.plural_of(noun) == plural
