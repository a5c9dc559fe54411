"""skaffold.yaml: what skaffold takes, about every service of the project, and with nothing in it that is not there."""

from __future__ import annotations

import copy
import re
from pathlib import PurePosixPath
from typing import Any

import pytest
import yaml

from tests.architecture.source import service_nouns
from tests.charts import helm, skaffold
from tests.charts.rendering import named, pods, template
from tests.charts.shapes import complaints

CONFIG: dict[str, Any] = yaml.safe_load((helm.ROOT / "skaffold.yaml").read_text(encoding="utf-8"))
ARTIFACTS: list[dict[str, Any]] = CONFIG["build"]["artifacts"]
(RELEASE,) = CONFIG["deploy"]["helm"]["releases"]
PROFILES = {profile["name"]: profile for profile in CONFIG["profiles"]}
DEV_VALUES = "k8s/skaffold/values-dev.yaml"


def image(noun: str) -> str:
    return f"shop-{noun}"


def nouns() -> list[str]:
    """The service of each artifact."""
    return [str(artifact["image"]).removeprefix("shop-") for artifact in ARTIFACTS]


def patched(name: str) -> dict[str, Any]:
    """The configuration with the patches of a profile, as far as they are of the kind that ours are."""
    config = copy.deepcopy(CONFIG)
    for patch in PROFILES[name]["patches"]:
        *path, last = patch["path"].strip("/").split("/")
        place: Any = config
        for step in path:
            place = place[int(step)] if isinstance(place, list) else place[step]
        if last == "-":
            place.append(patch["value"])
        elif isinstance(place, list):
            place[int(last)] = patch["value"]
        else:
            assert (last in place) is (patch["op"] == "replace"), patch
            place[last] = patch["value"]
    return config


@pytest.mark.parametrize("name", ["", "dev", "ci"])
def test_skaffold_takes_it(name: str) -> None:
    assert complaints(skaffold.CONFIG, patched(name) if name else CONFIG) == []


def test_a_typo_would_be_found() -> None:
    broken = copy.deepcopy(CONFIG)
    broken["deploy"]["helm"]["releases"][0]["valueFiles"] = []
    broken["build"]["artifacts"][7]["docker"]["buildArg"] = {}
    assert len(complaints(skaffold.CONFIG, broken)) == 2


def test_every_service_is_built() -> None:
    assert sorted(nouns()) == list(service_nouns())
    for noun, artifact in zip(nouns(), ARTIFACTS, strict=True):
        assert artifact["docker"]["buildArgs"] == {"SERVICE": noun}


def test_every_service_is_deployed_from_the_image_that_was_built() -> None:
    wanted = {}
    for noun in service_nouns():
        variable = re.sub(r"\W", "_", image(noun))
        wanted[f"{noun}.image.repository"] = f"{{{{.IMAGE_REPO_{variable}}}}}"
        wanted[f"{noun}.image.tag"] = f"{{{{.IMAGE_TAG_{variable}}}}}"
    assert RELEASE["setValueTemplates"] == wanted


def test_every_service_starts_anew_under_skaffold_dev() -> None:
    config = patched("dev")
    targets = [artifact["docker"].get("target") for artifact in config["build"]["artifacts"]]
    assert targets == ["dev"] * len(service_nouns())
    assert DEV_VALUES in config["deploy"]["helm"]["releases"][0]["valuesFiles"]


def test_what_is_named_is_there() -> None:
    releases = [config["deploy"]["helm"]["releases"][0] for config in (CONFIG, patched("dev"), patched("ci"))]
    named_paths = [path for release in releases for path in (release["chartPath"], *release["valuesFiles"])]
    for artifact in ARTIFACTS:
        named_paths += [artifact["context"], f"{artifact['context']}/{artifact['docker']['dockerfile']}"]
    assert [path for path in named_paths if not (helm.ROOT / path).exists()] == []


@pytest.mark.parametrize("artifact", ARTIFACTS, ids=lambda artifact: artifact["image"])
def test_a_saved_file_goes_where_python_finds_it(artifact: dict[str, Any]) -> None:
    (rule,) = artifact["sync"]["manual"]
    noun = artifact["image"].removeprefix("shop-")
    assert rule["src"] == f"{rule['strip']}shop/{noun}/**/*"
    assert (helm.ROOT / rule["strip"] / "shop" / noun).is_dir()
    assert rule["dest"] in dockerfile_variable("PYTHONPATH", "dev").split(":")


def dockerfile_variable(name: str, stage: str) -> str:
    """The value that `stage` of the services' Dockerfile gives to a variable."""
    text = (helm.ROOT / "services" / "Dockerfile").read_text(encoding="utf-8")
    lines = text.partition(f" AS {stage}\n")[2].partition("\nFROM ")[0]
    found = re.search(rf"\b{name}=(\S+)", lines)
    assert found, f"{stage} sets no {name}"
    return found[1]


def test_the_chart_takes_what_skaffold_gives() -> None:
    files = [part for path in (*RELEASE["valuesFiles"], DEV_VALUES) for part in ("--values", path)]
    images = [f"{path}={text.strip('{.}')}" for path, text in RELEASE["setValueTemplates"].items()]
    objects = template("shop", *files, "--set", ",".join(images))
    for noun in service_nouns():
        (pod,) = [pod for pod in pods(objects) if pod.title == f"Deployment/{noun}"]
        (container,) = pod.spec["containers"]
        assert container["image"] == f"IMAGE_REPO_shop_{noun}:IMAGE_TAG_shop_{noun}"
        mounts = {PurePosixPath(mount["mountPath"]) for mount in container["volumeMounts"]}
        assert mounts & set(PurePosixPath("/app/dev/service").parents), f"{noun} has nowhere to put saved files"


def test_the_forwarded_port_is_the_shops() -> None:
    (forward,) = CONFIG["portForward"]
    service = named(template("shop"), "Service", forward["resourceName"])
    assert forward["port"] in [port["port"] for port in service["spec"]["ports"]]
    assert (forward["namespace"], forward["resourceType"]) == (RELEASE["namespace"], "service")
