"""`make package`: self-contained charts of one version, with images of that version."""

from __future__ import annotations

import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from shop.operator.services import OPTIONAL, SERVICES
from tests.charts import helm
from tests.charts.generate import NAMES
from tests.charts.rendering import CHARTS, registry

VERSION = "7.8.9-rc.1"
TIMEOUT_S = 60


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that charts/package.sh fills."""
    folder = tmp_path_factory.mktemp("dist")
    path = f"{helm.helm().parent}:/usr/bin:/bin"
    command = [str(CHARTS / "package.sh"), VERSION, str(folder)]
    subprocess.run(command, env={"PATH": path, "HOME": str(folder)}, check=True, capture_output=True, timeout=TIMEOUT_S)
    return folder


def charts_in(package: Path) -> Iterator[tuple[str, Any]]:
    """Path and content of every Chart.yaml of a package, also of its dependencies."""
    with tarfile.open(package) as archive:
        for member in archive:
            if Path(member.name).name == "Chart.yaml":
                content = archive.extractfile(member)
                assert content is not None
                yield member.name, yaml.safe_load(content)


def test_every_chart_is_packaged_under_the_version(packages: Path) -> None:
    assert {path.name for path in packages.glob("*.tgz")} == {f"{name}-{VERSION}.tgz" for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_versions_in_a_package_are_in_step(name: str, packages: Path) -> None:
    found = list(charts_in(packages / f"{name}-{VERSION}.tgz"))
    assert found
    for path, chart in found:
        assert (chart["version"], chart["appVersion"]) == (VERSION, VERSION), path
        assert {dependency["version"] for dependency in chart.get("dependencies", [])} <= {VERSION}, path


def test_a_packaged_shop_brings_its_services_and_runs_images_of_its_version(packages: Path) -> None:
    on = [option for noun in OPTIONAL for option in ("--set", f"services.{noun}.enabled=true")]
    done = helm.run("template", "shop", str(packages / f"shop-{VERSION}.tgz"), *registry("shop"), *on)
    assert done.returncode == 0, done.stderr
    for noun in SERVICES:
        assert f"image: localhost/shopkeeper/shop-{noun}:{VERSION}\n" in done.stdout


def test_the_source_keeps_its_version(packages: Path) -> None:
    assert packages.exists()
    assert VERSION not in "".join(path.read_text(encoding="utf-8") for path in CHARTS.rglob("Chart.yaml"))
