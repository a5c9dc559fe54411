"""The prefork server imports the libraries that all services share and forks one process for each of them.

Run as a fork of the supervisor, or as `python -m shop.operator.local.prefork`. Eight interpreters that each import the
same hundred megabytes of libraries cost seconds and memory. Here they are imported once, while the stores start, and
the pages are shared: what each use of an object would write, its count of references, stays as it is.
It reads JSON lines: first `{"modules": [...], "locale": [...], "log"}`, with further modules to import and the country
and language that pages and mails are written for; then for each fork
`{"module", "arguments", "name", "env", "log", "cwd", "parent"}`, which is answered with `{"pid": ...}`.
A fork becomes a direct child of `parent`, which must be a child subreaper, and dies with it (Linux).

No service's own module is imported here: those read their settings at import.
"""

import contextlib
import ctypes
import importlib
import json
import os
import signal
import sys
import time
import traceback
from typing import Any, NoReturn

from shop.operator.local.shared_memory import share_with_forks

PRELOADED = (
    "shop.kit.app",
    "shop.kit.serve",
    "shop.kit.batch",
    "shop.kit.pages",
    "shop.kit.routing",
    "shop.kit.saga",
    "shop.kit.bodies",
    "shop.kit.formatting",
    "shop.kit.grpc",
    "shop.kit.postal",
    "shop.kit.currencies",
    "shop.kit.text",
    "shop.kit.watchers",
    "shop.contracts.calls",
    "shop.contracts.delivery",
    "shop.contracts.events",
    "shop.contracts.pricing",
    "shop.contracts.product",
    "shop.contracts.restaurant",
    "shop.contracts.store",
    "uvicorn.loops.uvloop",
    "uvicorn.protocols.http.httptools_impl",
    "uvicorn.lifespan.on",
    "fastapi.openapi.utils",
    "asyncpg",
    "babel.dates",
    "babel.numbers",
    "email.mime.multipart",
    "grpc",  # no channel and no server: their threads do not survive a fork
    "httpx",
    "jinja2",
    "nats",
    "pydantic.v1",  # FastAPI loads it for the first route of each service
    "redis.asyncio",
    "uvloop",
    "yaml",
)
PR_SET_NAME = 15
PR_SET_PDEATHSIG = 1
M_MMAP_THRESHOLD = -3
LARGE_BLOCK_BYTES = 1 << 20
"""Memory of larger blocks goes back to the system once they are freed. Otherwise glibc keeps as much as the largest
block that was ever freed: 19 MiB in the user service once it has hashed a password."""
MAX_DESCRIPTORS = 1 << 16
HANDOVER_TIMEOUT_S = 5.0
HANDOVER_POLL_S = 0.001


def main() -> None:
    """Import, report that, and fork on request until standard input ends."""
    lines = open(0, "rb", closefd=False)  # noqa: SIM115 - it is open as long as the process
    for line in lines:
        request = json.loads(line)
        if "modules" in request:
            _load(request)
            continue
        pid = _fork_away(request)
        if pid is None:
            _become(request)
            return
        _answer({"pid": pid})


def run_in_fork(requests: int, answers: int, parent: int) -> NoReturn:
    """Be the server from now on, in a fork of ``parent``; SystemExit in each service that it forks."""
    server = os.getpid()
    os.setsid()
    _name("prefork")
    for source, target in ((requests, 0), (answers, 1)):
        os.dup2(source, target)
    os.closerange(3, MAX_DESCRIPTORS)
    _end_with(parent)
    try:
        main()
    except Exception:  # noqa: BLE001 - nothing of the supervisor's is to handle it
        traceback.print_exc()
        sys.exit(1)
    finally:
        if os.getpid() == server:
            os._exit(0)  # nothing is to be ended that is the supervisor's
    sys.exit()


def _load(request: dict[str, Any]) -> None:
    _write_to(request["log"], 2)
    libc = ctypes.CDLL(None)
    with contextlib.suppress(AttributeError):  # glibc has it
        libc.mallopt(M_MMAP_THRESHOLD, LARGE_BLOCK_BYTES)
    for module in (*PRELOADED, *request["modules"]):
        with contextlib.suppress(ImportError):
            importlib.import_module(module)
    _load_locale(*request["locale"])
    share_with_forks()
    _answer({"ready": True})


def _load_locale(country: str, language: str) -> None:
    """Its data takes 4 MiB of each process. An unknown locale is reported by the services."""
    from shop.kit.formatting import formats

    with contextlib.suppress(ValueError):
        formats(country, language)


def _answer(document: dict[str, Any]) -> None:
    os.write(1, json.dumps(document).encode() + b"\n")


def _fork_away(request: dict[str, Any]) -> int | None:
    """The pid of a grandchild, whose parent has ended; None inside the grandchild."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        grandchild = os.fork()
        if grandchild != 0:
            os.write(writing, str(grandchild).encode())
            os._exit(0)
        os.close(reading)
        os.close(writing)
        _await_parent(int(request["parent"]))
        return None
    os.close(writing)
    with os.fdopen(reading) as answer:
        pid = int(answer.read())
    os.waitpid(child, 0)
    return pid


def _await_parent(parent: int) -> None:
    deadline = time.monotonic() + HANDOVER_TIMEOUT_S
    while os.getppid() != parent:
        if time.monotonic() > deadline:
            os._exit(1)
        time.sleep(HANDOVER_POLL_S)
    _end_with(parent)


def _end_with(parent: int) -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def _name(name: str) -> None:
    ctypes.CDLL(None).prctl(PR_SET_NAME, f"shop-{name}".encode()[:15], 0, 0, 0)


def _write_to(log: str, *descriptors: int) -> None:
    file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for descriptor in descriptors:
        os.dup2(file, descriptor)
    os.close(file)


def _become(request: dict[str, Any]) -> None:
    """Turn this fork into the process that `python -m module arguments...` would have been."""
    os.setsid()
    _name(request["name"])
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    _write_to(request["log"], 1, 2)
    os.environ.clear()
    os.environ.update(request["env"])
    os.chdir(request["cwd"])
    sys.argv = [request["module"], *request["arguments"]]
    importlib.import_module(request["module"]).main()


if __name__ == "__main__":
    main()
