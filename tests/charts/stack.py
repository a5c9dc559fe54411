"""charts/observability as it is rendered: its components, their configurations, its notes."""

from __future__ import annotations

from typing import Any

import yaml

from tests.charts import helm
from tests.charts.rendering import NAMESPACE, RELEASE, Object, named, preset

CHART = "observability"
ALL_ON = "observability-everything"


def config(name: str, config_map: str, file: str) -> Any:
    """A file of a ConfigMap of the preset `name`, as its program reads it."""
    return yaml.safe_load(named(preset(name), "ConfigMap", f"{RELEASE}-{config_map}")["data"][file])


def container(name: str, kind_name: str, part: str) -> Object:
    """The only container of a component."""
    (found,) = named(preset(name), kind_name, f"{RELEASE}-{part}")["spec"]["template"]["spec"]["containers"]
    only: Object = found
    return only


def environment(found: Object) -> dict[str, str]:
    """The variables of a container; those from a Secret are ""."""
    return {one["name"]: one.get("value", "") for one in found.get("env", ())}


def job(name: str, job_name: str) -> Any:
    """One of Prometheus' scrape configurations."""
    jobs = config(name, "prometheus", "prometheus.yaml")["scrape_configs"]
    (found,) = [one for one in jobs if one["job_name"] == job_name]
    return found


def notes(*arguments: str) -> str:
    """What an installation prints."""
    given = (f"charts/{CHART}", "--namespace", NAMESPACE, "--dry-run=client", *arguments)
    done = helm.run("install", RELEASE, *given)
    assert done.returncode == 0, done.stderr
    return done.stdout.partition("NOTES:\n")[2]
