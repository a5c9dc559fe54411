"""What services/Dockerfile puts into the images: what a service needs and no more, and labels that say which it is."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.architecture.source import IMAGE_LIBRARIES, ROOT

DOCKERFILE = re.sub(r"\\\n\s*", "", (ROOT / "services" / "Dockerfile").read_text(encoding="utf-8"))
BUILDER = (ROOT / "services" / "images.sh").read_text(encoding="utf-8")
LABELS = {f"org.opencontainers.image.{name}" for name in ("title", "description", "version", "revision")}
# The last stage is a service's, as `docker build` takes it without --target.
SERVICE, BASE, RUNTIME, OPERATOR = "", "image", "runtime", "operator"


def stage(name: str) -> list[str]:
    """The instructions of a stage of the Dockerfile."""
    found = re.search(
        rf"^FROM \S+{f' AS {name}' if name else ''}\n(.*?)(?=^FROM |\Z)", DOCKERFILE, re.MULTILINE | re.DOTALL
    )
    assert found, f"no stage {name}"
    return found[1].splitlines()


def copied(name: str) -> set[str]:
    """What a stage copies: `stage:path`, or a path of the repository."""
    copies = [line.removeprefix("COPY ").split() for line in stage(name) if line.startswith("COPY ")]
    found = set()
    for first, *paths in copies:
        origin = first.removeprefix("--from=")
        found |= {f"{origin}:{path}" for path in paths[:-1]} if origin != first else {first, *paths[:-1]}
    return found


def parent(name: str) -> str:
    """The stage that a stage begins with, where the build is given no image of it."""
    found = re.search(rf"^FROM (\S+){f' AS {name}' if name else ''}$", DOCKERFILE, re.MULTILINE)
    assert found, f"no stage {name}"
    argument = re.fullmatch(r"\$\{(\w+)\}", found[1])
    return re.findall(rf"^ARG {argument[1]}=(\S+)", DOCKERFILE, re.MULTILINE)[0] if argument else found[1]


def installed(name: str, target: str) -> list[str]:
    """The folders of the repository that a stage installs below `target`."""
    lines = [part for line in stage(name) for part in line.split("&&") if f"--target {target} " in part]
    return [word for line in lines for word in line.split() if word.startswith("./")]


def test_a_services_image_holds_the_service_and_the_libraries() -> None:
    assert copied(RUNTIME) == {"dependencies:/app/.venv", "kit:/app/kit"}
    assert copied(BASE) == {"service:/app/service"}
    assert copied(SERVICE) == set()
    assert {parent(SERVICE), parent(BASE), parent("service")} == {BASE, RUNTIME, "kit"}
    assert installed("kit", "/app/kit") == [f"./services/{library}" for library in IMAGE_LIBRARIES]
    assert installed("service", "/app/service") == ["./services/${SERVICE}"]


def test_the_operators_image_holds_the_operator_and_what_it_renders_with() -> None:
    assert (parent(OPERATOR), parent("operator-parts")) == (RUNTIME, "kit")
    parts = {"helm:/usr/bin/helm", "operator-parts:/app/operator"}
    assert copied(OPERATOR) == {*parts, "charts/service", "charts/shop", "charts/earlier"}
    assert installed("operator-parts", "/app/operator/site-packages") == ["./k8s/operator"]


@pytest.mark.parametrize("name", [SERVICE, OPERATOR], ids=["service", "operator"])
def test_an_image_says_what_it_is(name: str) -> None:
    (line,) = [line for line in stage(name) if line.startswith("LABEL ")]
    labels = dict(re.findall(r'(org\.opencontainers\.image\.\w+)="([^"]+)"', line))
    assert set(labels) == LABELS
    assert labels["org.opencontainers.image.version"] == "${VERSION}"
    assert labels["org.opencontainers.image.revision"] == "${REVISION}"


@pytest.mark.parametrize("argument", ["SERVICE", "VERSION", "REVISION"])
def test_what_a_label_says_is_given_by_the_build(argument: str) -> None:
    assert f"ARG {argument}" in "\n".join(stage(SERVICE))
    assert f'--build-arg "{argument}=' in BUILDER


def test_the_build_sees_sources_and_no_tests() -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    allowed = {line.removeprefix("!") for line in ignored if line.startswith("!")}
    assert ignored[0] == "*"
    assert {"**/tests", "**/__pycache__"} <= set(ignored[len(allowed) :])
    every = {part for name in ("dependencies", "kit", "service", "operator-parts", "dev") for part in copied(name)}
    assert {path.partition("/")[0] for path in every if ":" not in path} <= allowed


def test_no_image_holds_the_development_kit() -> None:
    assert "devkit" not in DOCKERFILE


WITHOUT_DEVKIT = """
import importlib, sys

sys.modules["shop.devkit"] = None  # importing it, or anything in it, is an ImportError
importlib.import_module(sys.argv[1])
"""


@pytest.mark.parametrize("module", ["shop.operator.engine.main", "shop.operator.backup.__main__"])
def test_what_the_operators_image_starts_needs_no_development_kit(module: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_DEVKIT, module], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr


def test_nothing_runs_as_root() -> None:
    assert {parent(BASE), parent(OPERATOR)} == {RUNTIME}
    users = [line for name in (RUNTIME, BASE, OPERATOR, "dev", SERVICE) for line in stage(name) if "USER" in line]
    assert users == ["USER 10001:10001"]
    assert users[0] in stage(RUNTIME)
