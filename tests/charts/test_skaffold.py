"""skaffold.yaml: valid for skaffold, complete for every service, and without references to missing files."""

from __future__ import annotations

import copy
import json
import re
from pathlib import PurePosixPath
from typing import Any

import pytest
import yaml

from shop.operator.resource import shopfile
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
    """The configuration with a profile as skaffold applies it: first its sections, then its patches."""
    profile = copy.deepcopy(PROFILES[name])
    sections = {key: profile[key] for key in profile if key not in ("name", "activation", "patches")}
    config = {**copy.deepcopy(CONFIG), **sections}
    for patch in profile["patches"]:
        *path, last = patch["path"].strip("/").split("/")
        place: Any = config
        for step in path:
            place = place[int(step)] if isinstance(place, list) else place[step]
        if last == "-":
            place.append(patch["value"])
        elif patch["op"] == "remove":
            del place[int(last) if isinstance(place, list) else last]
        elif isinstance(place, list):
            place[int(last)] = patch["value"]
        else:
            assert (last in place) is (patch["op"] == "replace"), patch
            place[last] = patch["value"]
    return config


@pytest.mark.parametrize("name", ["", *PROFILES])
def test_it_is_valid_for_skaffold(name: str) -> None:
    assert complaints(skaffold.CONFIG, patched(name) if name else CONFIG) == []


@pytest.mark.parametrize("name", PROFILES)
def test_a_profile_keeps_how_images_are_built(name: str) -> None:
    assert patched(name)["build"]["local"].items() >= CONFIG["build"]["local"].items()


@pytest.mark.parametrize("name", ["", *PROFILES])
def test_no_example_is_installed(name: str) -> None:
    config = patched(name) if name else CONFIG
    assert "example." not in json.dumps(config)
    for release in config["deploy"]["helm"]["releases"]:
        for path in release.get("valuesFiles", ()):
            assert "example." not in (helm.ROOT / path).read_text(encoding="utf-8")


def test_the_operator_profile_builds_the_operator_too() -> None:
    *services, operator = patched("operator")["build"]["artifacts"]
    assert services == ARTIFACTS
    assert operator["docker"]["target"] == "operator"
    dockerfile = (helm.ROOT / operator["docker"]["dockerfile"]).read_text(encoding="utf-8")
    assert re.search(r"^FROM \S+ AS operator$", dockerfile, re.MULTILINE)


def test_the_operators_chart_accepts_the_values_of_skaffold() -> None:
    (release,) = patched("operator")["deploy"]["helm"]["releases"]
    given = [f"{path}={text}" for path, text in release["setValues"].items()]
    given += [f"{path}={text.strip('{.}')}" for path, text in release["setValueTemplates"].items()]
    ((operator,),) = [pod.containers for pod in pods(template("shop-operator", "--set", ",".join(given)))]
    assert operator["image"] == "IMAGE_REPO_shop_operator:IMAGE_TAG_shop_operator"


def test_the_shop_of_the_operator_profile_runs_the_images_that_were_built() -> None:
    config = patched("operator")
    (path,) = config["manifests"]["rawYaml"]
    (allowed,) = config["resourceSelector"]["allow"]
    namespace, shop = yaml.safe_load_all((helm.ROOT / path).read_text(encoding="utf-8"))
    assert allowed == {"groupKind": f"{shop['kind']}.{shop['apiVersion'].partition('/')[0]}", "image": [".*"]}
    assert set(shopfile.parse(yaml.safe_dump(shop).encode(), path).spec.services) == set(service_nouns())
    assert {service["image"] for service in shop["spec"]["services"].values()} == set(map(image, service_nouns()))
    (forward,) = config["portForward"]
    assert forward["namespace"] == shop["metadata"]["namespace"] == namespace["metadata"]["name"]
    assert forward["resourceName"] == f"{shop['metadata']['name']}-gateway"


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
        wanted[f"services.{noun}.image.repository"] = f"{{{{.IMAGE_REPO_{variable}}}}}"
        wanted[f"services.{noun}.image.tag"] = f"{{{{.IMAGE_TAG_{variable}}}}}"
    assert RELEASE["setValueTemplates"] == wanted


def test_every_service_restarts_under_skaffold_dev() -> None:
    config = patched("dev")
    targets = [artifact["docker"].get("target") for artifact in config["build"]["artifacts"]]
    assert targets == ["dev"] * len(service_nouns())
    assert DEV_VALUES in config["deploy"]["helm"]["releases"][0]["valuesFiles"]


def test_named_files_exist() -> None:
    releases = [config["deploy"]["helm"]["releases"][0] for config in (CONFIG, *map(patched, PROFILES))]
    named_paths = [path for release in releases for path in (release["chartPath"], *release.get("valuesFiles", ()))]
    for artifact in ARTIFACTS:
        named_paths += [artifact["context"], f"{artifact['context']}/{artifact['docker']['dockerfile']}"]
    assert [path for path in named_paths if not (helm.ROOT / path).exists()] == []


@pytest.mark.parametrize("artifact", ARTIFACTS, ids=lambda artifact: artifact["image"])
def test_a_saved_file_is_copied_to_where_python_imports_it(artifact: dict[str, Any]) -> None:
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


def test_the_chart_accepts_the_values_of_skaffold() -> None:
    files = [part for path in (*RELEASE["valuesFiles"], DEV_VALUES) for part in ("--values", path)]
    images = [f"{path}={text.strip('{.}')}" for path, text in RELEASE["setValueTemplates"].items()]
    objects = template("shop", *files, "--set", ",".join(images))
    for noun in service_nouns():
        (pod,) = [pod for pod in pods(objects) if pod.title == f"Deployment/{noun}"]
        (container,) = pod.spec["containers"]
        assert container["image"] == f"IMAGE_REPO_shop_{noun}:IMAGE_TAG_shop_{noun}"
        mounts = {PurePosixPath(mount["mountPath"]) for mount in container["volumeMounts"]}
        assert mounts & set(PurePosixPath("/app/dev/service").parents), f"{noun} has nowhere to put saved files"


def test_the_forwarded_port_is_the_gateways() -> None:
    (forward,) = CONFIG["portForward"]
    service = named(template("shop"), "Service", forward["resourceName"])
    assert forward["port"] in [port["port"] for port in service["spec"]["ports"]]
    assert (forward["namespace"], forward["resourceType"]) == (RELEASE["namespace"], "service")
