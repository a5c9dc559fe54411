"""The prefork server imports the libraries that all services share and forks one process for each of them.

Run as `python -m shop.operator.local.prefork [MODULE ...]`, with further modules to import. Eight interpreters that
each import the same hundred megabytes of libraries cost seconds and memory. Here they are imported once, while the
stores start, and the pages are shared: what each use of an object would write, its count of references, stays as it is.
It reads JSON lines, `{"module", "arguments", "name", "env", "log", "cwd", "parent"}`, and answers with `{"pid": ...}`.
A fork becomes a direct child of `parent`, which must be a child subreaper, and dies with it (Linux).

No service's own module is imported here: those read their settings at import.
"""

import contextlib
import ctypes
import gc
import importlib
import json
import os
import signal
import sys
import sysconfig
import time
from types import CodeType
from typing import Any

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
HANDOVER_TIMEOUT_S = 5.0
HANDOVER_POLL_S = 0.001


def main() -> None:
    """Import, report that, and fork on request until standard input ends."""
    for module in (*PRELOADED, *sys.argv[1:]):
        with contextlib.suppress(ImportError):
            importlib.import_module(module)
    gc.collect()
    make_immortal()
    with contextlib.suppress(AttributeError):  # glibc has it
        ctypes.CDLL(None).malloc_trim(0)
    gc.freeze()
    _answer({"ready": True})
    for line in sys.stdin.buffer:
        request = json.loads(line)
        pid = _fork_away(request)
        if pid is None:
            _become(request)
            return
        _answer({"pid": pid})


def make_immortal() -> None:
    """Give every object the count of references that None has, which Python never changes (PEP 683).

    Otherwise each use of an object writes to its page, of which the process then has a copy of its own. Where Python
    keeps counts in another way, nothing is done.
    """
    if (immortal := _immortal_count()) is None:
        return
    immortal_references, count_at = sys.getrefcount(None), ctypes.c_uint32.from_address
    found: list[Any] = gc.get_objects()
    while found:
        mortal = [one for one in found if sys.getrefcount(one) != immortal_references]
        for one in mortal:
            count_at(id(one)).value = immortal
        found = gc.get_referents(*mortal)
        for one in mortal:
            if type(one) is CodeType:  # the collector does not look into it
                found += one.co_consts, one.co_names


def _immortal_count() -> int | None:
    """The lower half of the count that marks an object as immortal, which is negative as a signed number and stands at
    the object's address. None for free-threaded and debugging builds, whose objects begin otherwise."""
    begins_otherwise = sysconfig.get_config_var("Py_GIL_DISABLED") or sysconfig.get_config_var("Py_TRACE_REFS")
    if sys.implementation.name != "cpython" or sys.byteorder != "little" or begins_otherwise:
        return None
    count = ctypes.c_uint32.from_address(id(None)).value
    return count if count >> 31 else None


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
    libc = ctypes.CDLL(None)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def _become(request: dict[str, Any]) -> None:
    """Turn this fork into the process that `python -m module arguments...` would have been."""
    os.setsid()
    ctypes.CDLL(None).prctl(PR_SET_NAME, f"shop-{request['name']}".encode()[:15], 0, 0, 0)
    log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(source, target)
    os.close(log)
    os.close(nothing)
    os.environ.clear()
    os.environ.update(request["env"])
    os.chdir(request["cwd"])
    sys.argv = [request["module"], *request["arguments"]]
    importlib.import_module(request["module"]).main()


if __name__ == "__main__":
    main()
