"""Processes, ports and secrets, for the embedded servers and the local supervisor."""

import contextlib
import fcntl
import functools
import importlib.util
import os
import platform
import random
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path

HOST = "127.0.0.1"
# Below the kernel's ephemeral range, so that no outgoing connection can take a port that a folder remembers, and below
# Kubernetes' node ports, at which a cluster on this machine answers although nothing listens there.
PORT_RANGE = range(20_000, 30_000)
PORT_ATTEMPTS = 200
MAX_CHOSEN_PORTS = 4_000
LOG_TAIL_LINES = 8
LOG_LINE_BYTES = 400
LAUNCHER = Path(__file__).with_name("launch.py")


class EmbeddedError(RuntimeError):
    """A server could not be run; the message is one sentence for users."""


class PortInUse(EmbeddedError):
    """Another process listens on the port."""


class DataUnusable(EmbeddedError):
    """The folder holds no data that this server can open; the message names the folder."""


class DataOfOtherVersion(DataUnusable):
    """The folder holds data of another major version of the server."""


class ServerFailed(EmbeddedError):
    """The server ended or was not ready in time; the message carries its last log lines."""


def port_is_free(port: int, host: str = HOST) -> bool:
    """Whether a socket could listen on `port` now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
        return True


_owners: dict[int, str] = {}
_choosing = threading.Lock()


def free_port(owner: str = "") -> int:
    """A port that is free now and that no process of this user has chosen before; recorded for `owner`.

    Its user listens there only later, so that checking the port alone could give it to two callers.
    """
    with _choosing:
        for port in random.sample(PORT_RANGE, PORT_ATTEMPTS):
            if port not in _owners and _claim(port):
                if port_is_free(port):
                    _remember(port, owner)
                    return port
                _release(port)
    raise PortInUse(f"no free port found in {PORT_RANGE.start}..{PORT_RANGE.stop} after {PORT_ATTEMPTS} attempts")


def reuse_port(port: int, owner: str) -> bool:
    """Choose the port of an earlier start again; False when it is in use or another owner has chosen it."""
    with _choosing:
        if _owners.get(port, owner) != owner or not port_is_free(port):
            return False
        _claim(port)
        _remember(port, owner)
        return True


def _remember(port: int, owner: str) -> None:
    _owners[port] = owner
    if len(_owners) > MAX_CHOSEN_PORTS:
        oldest = next(iter(_owners))
        del _owners[oldest]
        _release(oldest)


@functools.cache
def _claims_of(pid: int) -> int:
    """The descriptor of a file in which each process of this user locks a byte for each port that it has chosen; the
    locks end with the process. -1 when there can be no such file."""
    path = Path(tempfile.gettempdir()) / f"shop-ports-{os.getuid()}"
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError:
        return -1


def _claim(port: int) -> bool:
    """Lock `port` until this process ends; False when another process has."""
    if (file := _claims_of(os.getpid())) < 0:
        return True
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except OSError:
        return False
    return True


def _release(port: int) -> None:
    if (file := _claims_of(os.getpid())) >= 0:
        with contextlib.suppress(OSError):
            fcntl.lockf(file, fcntl.LOCK_UN, 1, port)


def write_private(path: Path, text: str) -> None:
    """Write `text` atomically, readable by the owner only."""
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    fresh.replace(path)


def make_folder(path: Path) -> None:
    """Create the folder and its parents; raises `DataUnusable` when a file is in its place."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        taken = next(one for one in (path, *path.parents) if one.exists())
        raise DataUnusable(f"{taken} is not a folder, and one is needed there: move it away") from error


def kept_secret(path: Path) -> str:
    """The secret in `path`, generated on first use."""
    if not path.exists():
        write_private(path, secrets.token_urlsafe(24))
    return path.read_text().strip()


def log_tail(path: Path, lines: int = LOG_TAIL_LINES) -> str:
    """The last `lines` lines of a log, "" when there is none."""
    if not path.exists():
        return ""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - lines * LOG_LINE_BYTES))
        return "\n".join(file.read().decode(errors="replace").splitlines()[-lines:])


def package_file(package: str, *parts: str) -> Path:
    """A file inside an installed package, found without importing the package."""
    found = importlib.util.find_spec(package)
    if found is None or not found.submodule_search_locations:
        raise EmbeddedError(f"the Python package {package} is not installed; run `uv sync`")
    path = Path(found.submodule_search_locations[0], *parts)
    if not path.exists():
        raise EmbeddedError(f"{package} has no {'/'.join(parts)} for {platform.system()} {platform.machine()}")
    return path


def launch(
    program: list[str],
    *,
    signal_number: int = signal.SIGTERM,
    owner: tuple[int, int] | None = None,
    env: Mapping[str, str] | None = None,
    log: Path | None = None,
    cwd: Path | None = None,
    piped: bool = False,
) -> subprocess.Popen[bytes]:
    """Start `program`, as `owner` (uid, gid), in its own session; it gets `signal_number` when this thread ends.

    Its output goes to the end of `log`; with `piped`, standard input and output are pipes to this process instead.
    """
    options = ["--parent", str(os.getpid()), "--signal", str(int(signal_number))]
    if owner is not None:
        options += ["--uid", str(owner[0]), "--gid", str(owner[1])]
    command = [sys.executable, "-I", "-S", str(LAUNCHER), *options, "--", *program]
    output = log.open("ab") if log else None
    try:
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE if piped else subprocess.DEVNULL,
            stdout=subprocess.PIPE if piped else output or subprocess.DEVNULL,
            stderr=output or subprocess.DEVNULL,
            env=None if env is None else dict(env),
            cwd=cwd,
            start_new_session=True,
        )
    finally:
        if output is not None:
            output.close()
