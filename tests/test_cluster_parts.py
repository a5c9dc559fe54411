"""`make e2e` runs parts of its tests at the same time: together all tests, each when what it needs is there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from tests import rerun
from tests.kubernetes import __main__ as e2e
from tests.kubernetes import images
from tests.kubernetes.__main__ import Part
from tests.kubernetes.kube import CHART, PRESET
from tests.kubernetes.test_3_autoscaling import AT_REST_MILLICORES, TARGET_PERCENT

WAITS_FOR_THE_CLUSTER = """
import pathlib, time

def test_while_the_cluster_starts():
    deadline = time.monotonic() + 60
    while not pathlib.Path("up").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
"""
IN_THE_CLUSTER = """
import os, pathlib

def test_in_the_cluster():
    assert pathlib.Path("loaded").exists()
    assert os.environ["KUBECONFIG"] == "of-the-test"
"""
FAILS = "def test_fails():\n    assert False\n"


@dataclass
class Recorded:
    """A cluster that is only files in a folder."""

    folder: Path
    name: str = "recorded"
    calls: list[str] = field(default_factory=list)

    def prepare(self) -> None:
        self.calls.append("prepare")

    def up(self) -> None:
        (self.folder / "up").touch()
        self.calls.append("up")

    def load(self, images: Sequence[str]) -> None:
        (self.folder / "loaded").write_text(" ".join(images), encoding="utf-8")
        self.calls.append("load")

    def environment(self) -> dict[str, str]:
        return {"KUBECONFIG": "of-the-test"}

    def down(self) -> None:
        self.calls.append("down")


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recorded:
    """Its parts are files that a test writes: part_operator.py, part_shops.py, part_release.py."""
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.setenv("PYTHONPATH", str(rerun.ROOT))
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setattr(rerun, "ROOT", tmp_path)
    monkeypatch.setattr(rerun, "FOLDER", tmp_path / "outcomes")
    monkeypatch.setattr(images, "build", lambda: ["image"])
    monkeypatch.setattr("sys.argv", ["e2e"])
    (tmp_path / "pytest.ini").write_text("[pytest]\n", encoding="utf-8")
    for name in ("ON_AN_API_SERVER", "IN_OTHER_NAMESPACES", "OF_THE_RELEASE"):
        part: Part = getattr(e2e, name)
        monkeypatch.setattr(
            e2e, name, Part(part.name, [f"part_{part.name}.py"], ["-p", "no:cacheprovider", "-p", "no:xdist"])
        )
    return Recorded(tmp_path)


def write(cluster: Recorded, *, operator: str, shops: str, release: str) -> None:
    for name, text in (("operator", operator), ("shops", shops), ("release", release)):
        (cluster.folder / f"part_{name}.py").write_text(text, encoding="utf-8")


def test_the_cluster_starts_while_the_operators_tests_run(cluster: Recorded) -> None:
    write(cluster, operator=WAITS_FOR_THE_CLUSTER, shops=IN_THE_CLUSTER, release=IN_THE_CLUSTER)
    assert e2e.run(cluster, []) == 0
    assert cluster.calls == ["up", "load", "down"]
    assert (cluster.folder / "loaded").read_text(encoding="utf-8") == "image"


@pytest.mark.parametrize("failing", ["operator", "shops", "release"])
def test_a_failure_in_any_part_counts_and_the_others_still_run(
    cluster: Recorded, failing: str, capsys: pytest.CaptureFixture[str]
) -> None:
    well = {"operator": WAITS_FOR_THE_CLUSTER, "shops": IN_THE_CLUSTER, "release": IN_THE_CLUSTER}
    write(cluster, **well | {failing: FAILS})
    assert e2e.run(cluster, []) == rerun.TESTS_FAILED
    printed = capsys.readouterr().out
    assert printed.count("1 passed") == 2
    assert f"part {failing}: " in printed
    assert cluster.calls[-1] == "down"


def test_every_cluster_test_belongs_to_one_part() -> None:
    release, others = e2e.OF_THE_RELEASE, e2e.IN_OTHER_NAMESPACES
    assert release.tests == ["tests/kubernetes"]
    assert {option for option in release.options if option.startswith("--ignore")} == {
        f"--ignore={path}" for path in others.tests
    }
    assert not [path for path in others.tests if not (rerun.ROOT / path).is_file()]


def test_a_pod_at_rest_is_far_below_half_of_the_autoscalers_target() -> None:
    values = yaml.safe_load((CHART / PRESET).read_text(encoding="utf-8"))
    requested = int(values["serviceDefaults"]["resources"]["requests"]["cpu"].removesuffix("m"))
    assert requested * TARGET_PERCENT / 100 / 2 >= 1.5 * AT_REST_MILLICORES
