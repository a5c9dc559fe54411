"""`make kind`, `make k3d`, `make minikube`: the clusters, images and values that they use match.

None of the three runs without Docker, so each program is a script here that records how it was called; what helm was
called with is then rendered by the real helm.
"""

from __future__ import annotations

import itertools
import re
import shlex
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests.architecture.source import service_nouns
from tests.charts import helm
from tests.charts.rendering import kind, pods, template

RECORD = """#!/bin/sh
{ printf '%s' "${0##*/}"; for word in "$@"; do printf ' %s' "'$word'"; done; printf '\\n'; } >>"$RECORD"
"""
# Output or exit code of a program before a cluster exists.
ANSWERS = {
    "docker": "",
    "kind": "",
    "k3d": '[ "$1 $2" != "cluster list" ]',
    "minikube": '[ "$3" != status ]',
    "kubectl": '[ "$2" != --raw ]',
    "helm": "",
}
NEEDED = ("basename", "bash", "cat", "dirname", "env", "git", "grep", "head", "sed", "sh")
TOOLS = ("kind", "k3d", "minikube")
VERSION = "7.8.9"
REGISTRY = "localhost/shopkeeper"
BUILT = sorted(f"{REGISTRY}/shop-{noun}:{VERSION}" for noun in (*service_nouns(), "operator"))
RUN_TIMEOUT_S = 60


@dataclass(frozen=True)
class Recorded:
    """The commands of one run, each as its words."""

    commands: list[list[str]]

    def position(self, *words: str) -> int:
        """Of the first command that has all `words`."""
        return next(i for i, command in enumerate(self.commands) if set(words) <= set(command))

    def all(self, *words: str) -> list[list[str]]:
        return [command for command in self.commands if set(words) <= set(command)]


def run(folder: Path, *arguments: str, without: str = "") -> tuple[int, Recorded, str]:
    """Exit code, calls, and stderr of k8s/up.sh with programs that record their calls."""
    programs = folder / "bin"
    programs.mkdir()
    for program, answer in ANSWERS.items():
        if program != without:
            (programs / program).write_text(f"{RECORD}{answer}\n", encoding="utf-8")
            (programs / program).chmod(0o755)
    for program in NEEDED:
        (programs / program).symlink_to(shutil.which(program) or program)
    record = folder / "record"
    record.touch()
    environment = {"PATH": str(programs), "RECORD": str(record), "VERSION": VERSION, "HOME": str(folder)}
    done = subprocess.run(
        [str(helm.ROOT / "k8s" / "up.sh"), *arguments],
        env=environment,
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
        timeout=RUN_TIMEOUT_S,
    )
    lines = record.read_text(encoding="utf-8").splitlines()
    return done.returncode, Recorded([shlex.split(line) for line in lines]), done.stderr


@pytest.mark.parametrize("tool", TOOLS)
def test_a_cluster_is_created_and_gets_every_image_before_the_shop_is_installed(tool: str, tmp_path: Path) -> None:
    code, recorded, stderr = run(tmp_path, tool)
    assert code == 0, stderr
    created = recorded.position(tool, "start" if tool == "minikube" else "create")
    last_built = max(i for i, command in enumerate(recorded.commands) if command[:2] == ["docker", "build"])
    loaded = [word for command in recorded.all(tool) for word in command if word.startswith(REGISTRY)]
    first_loaded = recorded.position(tool, BUILT[0])
    assert created < last_built < first_loaded < recorded.position("helm", "charts/shop")
    assert sorted(loaded) == BUILT


@pytest.mark.parametrize("tool", TOOLS)
def test_the_port_of_this_machine_leads_to_the_gateway(tool: str, tmp_path: Path) -> None:
    _, recorded, _ = run(tmp_path, tool)
    objects = template("shop", *values_of(recorded.all("helm", "charts/shop")[0]))
    (gateway,) = [found for found in kind(objects, "Service") if found["spec"]["type"] == "NodePort"]
    assert port_of_node(tool, recorded) == gateway["spec"]["ports"][0]["nodePort"]


def port_of_node(tool: str, recorded: Recorded) -> int:
    """The port of the node that is http://localhost:8080 here."""
    if tool == "kind":
        (command,) = recorded.all("kind", "create")
        config = yaml.safe_load((helm.ROOT / command[command.index("--config") + 1]).read_text(encoding="utf-8"))
        (mapped,) = config["nodes"][0]["extraPortMappings"]
        assert (mapped["hostPort"], mapped["listenAddress"]) == (8080, "127.0.0.1")
        return int(mapped["containerPort"])
    (command,) = recorded.all(tool, "create" if tool == "k3d" else "start")
    (found,) = [match for match in (re.match(r"127\.0\.0\.1:8080:(\d+)", word) for word in command) if match]
    return int(found[1])


@pytest.mark.parametrize("tool", TOOLS)
def test_pods_use_the_images_that_were_loaded(tool: str, tmp_path: Path) -> None:
    _, recorded, _ = run(tmp_path, tool)
    objects = template("shop", *values_of(recorded.all("helm", "charts/shop")[0]))
    images = {container["image"] for pod in pods(objects) for container in pod.containers}
    assert {image for image in images if "/shop-" in image} <= set(BUILT)
    assert len(images & set(BUILT)) == len(service_nouns())


@pytest.mark.parametrize("tool", TOOLS)
def test_the_operator_and_a_shop_are_installed_instead(tool: str, tmp_path: Path) -> None:
    code, recorded, stderr = run(tmp_path, tool, "operator")
    assert code == 0, stderr
    (install,) = recorded.all("helm")
    objects = template("shop-operator", *values_of(install))
    ((operator,),) = [pod.containers for pod in pods(objects)]
    assert operator["image"] == f"{REGISTRY}/shop-operator:{VERSION}"
    assert {"name": "SHOP_OPERATOR_IMAGE_REGISTRY", "value": REGISTRY} in operator["env"]
    applied = recorded.position("kubectl", "apply", "k8s/samples/bookshop.yaml")
    assert recorded.position("helm") < applied < recorded.position("kubectl", "wait", "--for=condition=Ready")


def values_of(command: list[str]) -> tuple[str, ...]:
    """The arguments of a helm command that set values."""
    pairs = itertools.pairwise(command)
    return tuple(word for pair in pairs if pair[0] in ("--set", "--values") for word in pair)


@pytest.mark.parametrize("missing", ["docker", "kubectl", "helm", "k3d"])
def test_a_missing_program_is_named_before_anything_is_created(missing: str, tmp_path: Path) -> None:
    code, recorded, stderr = run(tmp_path, "k3d", without=missing)
    assert (code, recorded.commands) == (1, [])
    assert stderr == f"k8s/up.sh: {missing} is missing; docs/kubernetes.md says where to get it\n"


@pytest.mark.parametrize("arguments", [(), ("podman",), ("kind", "everything"), ("kind", "shop", "more")])
def test_other_arguments_are_answered_with_the_usage(arguments: tuple[str, ...], tmp_path: Path) -> None:
    code, recorded, stderr = run(tmp_path, *arguments)
    assert (code, recorded.commands) == (2, [])
    assert "k8s/up.sh kind|k3d|minikube [shop|operator]" in stderr
