"""The collector's configuration: complete, in a working order, and in agreement with what the services record."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from shop.kit.spans import SAMPLED_LATE, SLOW_REQUEST_S

FOLDER = Path(__file__).parents[2] / "observability" / "collector"
TIERS = ("load-balancing.yaml", "tail-sampling.yaml")


def read(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((FOLDER / name).read_text(encoding="utf-8"))
    return found


@pytest.mark.parametrize("name", TIERS)
def test_pipelines_use_what_is_configured_and_all_of_it(name: str) -> None:
    config = read(name)
    pipeline = config["service"]["pipelines"]["traces"]
    for part in ("receivers", "processors", "exporters"):
        assert sorted(pipeline[part]) == sorted(config[part])
    assert config["service"]["extensions"] == list(config["extensions"])
    assert pipeline["processors"][0] == "memory_limiter"


def test_spans_of_one_trace_come_to_one_replica() -> None:
    assert read("load-balancing.yaml")["exporters"]["loadbalancing"]["routing_key"] == "traceID"


def test_traces_are_judged_before_they_are_put_into_batches() -> None:
    """A batch of several traces could not be split again."""
    processors = read("tail-sampling.yaml")["service"]["pipelines"]["traces"]["processors"]
    assert processors.index("tail_sampling") < processors.index("batch")


def test_errors_and_slow_traces_are_always_kept_by_the_services_own_limits() -> None:
    sampling = read("tail-sampling.yaml")["processors"]["tail_sampling"]
    policies = {policy["type"]: policy[policy["type"]] for policy in sampling["policies"]}
    assert policies["status_code"] == {"status_codes": ["ERROR"]}
    assert policies["latency"]["threshold_ms"] == SLOW_REQUEST_S * 1_000
    assert policies["boolean_attribute"] == {"key": SAMPLED_LATE, "value": True}
    held = sampling["decision_wait"].removesuffix("s")
    assert sampling["num_traces"] >= int(held) * sampling["expected_new_traces_per_sec"]
