"""A server of S3 on this machine: versitygw, from the PATH, the tools' cache, or built from its Go module into it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from shop.devkit.embedded import free_port
from shop.devkit.processes import port_is_free
from tests.charts.helm import BUILD_TIMEOUT_S, CACHE, GO_PLACES

MODULE = "github.com/versity/versitygw/cmd/versitygw@v1.8.0"
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
    """The server's program, None where it is not and cannot be built."""
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "versitygw.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for place in (shutil.which("versitygw"), CACHE / "versitygw"):
            if place and os.access(place, os.X_OK):
                return Path(place)
        return _built()


def _built() -> Path | None:
    go = shutil.which("go") or next((place for place in GO_PLACES if Path(place).exists()), None)
    if go is None:
        return None
    command = [go, "install", "-trimpath", "-ldflags=-s -w", MODULE]
    environment = {**os.environ, "GOBIN": str(CACHE), "CGO_ENABLED": "0"}
    try:
        subprocess.run(command, env=environment, capture_output=True, timeout=BUILD_TIMEOUT_S, check=True)
    except subprocess.SubprocessError:
        return None
    return CACHE / "versitygw"


@contextlib.contextmanager
def running(found: Path, folder: Path) -> Iterator[S3Server]:
    """The server with an empty BUCKET; the caller waits until it answers."""
    root, sidecar = folder / "objects", folder / "metadata"
    (root / BUCKET).mkdir(parents=True)
    sidecar.mkdir()
    port = free_port()
    command = [str(found), "--port", f"127.0.0.1:{port}", "--quiet", "posix", "--sidecar", str(sidecar), str(root)]
    keys = {"ROOT_ACCESS_KEY": ACCESS_KEY, "ROOT_SECRET_KEY": SECRET_KEY}
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(command, env={**os.environ, **keys}, stdout=log, stderr=log)
        try:
            yield S3Server(f"http://127.0.0.1:{port}", root / BUCKET)
        finally:
            process.terminate()
            process.wait(10)


def answers(server: S3Server) -> bool:
    return not port_is_free(int(server.endpoint.rpartition(":")[2]))
