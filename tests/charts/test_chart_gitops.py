"""Rendering without a cluster, as Argo CD and Flux do: Secrets by reference, and identical text every time."""

from __future__ import annotations

from functools import cache
from typing import Any

import yaml

from tests.charts import helm
from tests.charts.rendering import EVERY_SERVICE, NAMESPACE, PRESETS, RELEASE, kind, pods, preset, registry, template

GITOPS = PRESETS["shop-gitops"][1]


def rendered(*arguments: str) -> str:
    given = ("--namespace", NAMESPACE, *registry("shop"), *EVERY_SERVICE, *arguments)
    done = helm.run("template", RELEASE, "charts/shop", *given)
    assert done.returncode == 0, done.stderr
    return done.stdout


@cache
def keys() -> dict[str, set[str]]:
    """The Secrets that `--show-only templates/secrets.yaml` renders, and their keys."""
    found = yaml.load_all(rendered("--show-only", "templates/secrets.yaml"), Loader=yaml.CSafeLoader)
    return {secret["metadata"]["name"]: set(secret["stringData"]) for secret in found if secret}


def test_two_renders_are_the_same() -> None:
    assert rendered(*GITOPS) == rendered(*GITOPS)


def test_without_the_preset_passwords_differ() -> None:
    assert rendered() != rendered()


def test_no_secret_is_rendered() -> None:
    assert kind(preset("shop-gitops"), "Secret") == []


def test_everything_else_is_as_without_the_preset() -> None:
    """Only finished Jobs are kept: without the operator, a deleted one would run again."""
    without = template("shop", "--set", "global.jobTtlSeconds=null")
    assert [one for one in without if one["kind"] != "Secret"] == list(preset("shop-gitops"))
    jobs = {name: [job["spec"].get("ttlSecondsAfterFinished") for job in kind(preset(name), "Job")] for name in PRESETS}
    assert set(jobs["shop-gitops"]) == {None}
    assert {time for name in jobs if name != "shop-gitops" for time in jobs[name]} == {604800}


def test_the_chart_writes_every_secret_that_the_preset_names() -> None:
    named = yaml.safe_load((helm.ROOT / "charts/shop/values-gitops.yaml").read_text(encoding="utf-8"))
    secrets = named["global"]["secrets"]
    databases = set(secrets.pop("database").values())
    assert databases | set(secrets.values()) == set(keys())


def test_pods_find_every_key_that_they_read() -> None:
    wanted = {
        (reference["name"], reference["key"])
        for pod in pods(preset("shop-gitops"))
        for container in pod.containers
        for reference in references(container)
    }
    assert wanted
    assert {(name, key) for name, key in wanted if key not in keys().get(name, set())} == set()


def references(container: dict[str, Any]) -> list[dict[str, Any]]:
    sources = [one.get("valueFrom", {}) for one in container.get("env", [])]
    return [source["secretKeyRef"] for source in sources if "secretKeyRef" in source]
