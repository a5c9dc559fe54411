"""Services are forked before gRPC has started: the server that forks them has one thread, and forks can use gRPC. Forks
give freed memory back, and share what was loaded before also when they use it.

gRPC's threads and sockets do not survive a fork, so a channel or server in the parent would leave every service with a
library that hangs at its first call. Linux only, like the prefork server.
"""

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import grpc
import psutil
import pytest
from grpc_health.v1 import health, health_pb2_grpc

from k8s.operator.tests.processes import has_ended
from shop.devkit.processes import log_tail
from shop.devkit.testing import wait_until
from shop.operator.local.prefork_client import PreforkServer

pytestmark = pytest.mark.skipif(not PreforkServer.supported(), reason="only Linux hands over forks")

WITH_GRPC = ("shop.kit.grpc", "shop.recommendation.grpc_api", "shop.storefront.suggestions", "shop.storefront.service")
"""Modules of services that have a gRPC server or client."""
CALLER = """
import sys
assert {*sys.argv[2:]} <= {*sys.modules}, "not loaded before the fork"

import asyncio
import ctypes
import psutil
from grpc_health.v1 import health_pb2, health_pb2_grpc
from shop.kit.grpc import GrpcClient

async def call():
    client = GrpcClient("health", sys.argv[1], [health_pb2.DESCRIPTOR])
    method = health_pb2_grpc.HealthStub(client.channel).Check
    answer = await client.call(method, health_pb2.HealthCheckRequest(), timeout_s=60.0)
    await client.close()
    print("answered", health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status), flush=True)

def resident():
    return psutil.Process().memory_info().rss

def kept():
    libc = ctypes.CDLL(None)
    libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
    before = resident()
    for _ in range(3):
        block = libc.malloc(19 << 20)
        ctypes.memset(block, 1, 19 << 20)
        libc.free(block)
    return resident() - before

def copied():
    of_this_process = lambda: psutil.Process().memory_full_info().uss
    before = of_this_process()
    used = [value for module in [*sys.modules.values()] for value in vars(module).values()]
    return of_this_process() - before

def main():
    print(f"copied {copied() >> 20} MiB, kept {kept() >> 20} MiB")
    asyncio.run(call())
"""
SUPERVISOR = """
import os, signal, sys
from pathlib import Path

import psutil
from shop.operator.local.prefork_client import PreforkServer, forked_server

not_for_forks = os.pipe()
process = forked_server().__enter__()
server = PreforkServer(Path("prefork.log"), ["ends"], process, country="DE", language="de")
server.start()
server.wait_ready()
request = {"module": "ends", "env": dict(os.environ), "log": "ends.log", "cwd": os.getcwd(), "name": "ends"}
forks = [server.spawn({**request, "arguments": [how]}) for how in ("returns", "exits", "fails", "says")]
print(*(fork.wait(60) for fork in forks))
held = psutil.Process().memory_full_info()
print(round(100 * held.uss / held.rss))
print(server.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
ENDS = """
import atexit, os, sys

def main():
    from shop.kit.formatting import formats

    read = []
    sys.addaudithook(lambda event, of: read.append(of[0]) if event == "open" and str(of[0]).endswith(".dat") else None)
    formats("DE", "de").money(1, "EUR")
    print("reads locales", len(read))
    atexit.register(print, "at the end")
    open_files = [os.path.realpath(f"/proc/self/fd/{each}") for each in os.listdir("/proc/self/fd") if int(each) > 2]
    print("inherits", sum("pipe" in each for each in open_files))
    match sys.argv[1]:
        case "exits":
            sys.exit(7)
        case "fails":
            raise ValueError("on purpose")
        case "says":
            sys.exit("a reason")
"""
MOST_OF_ITS_OWN_PERCENT = 50
"""Of the supervisor's memory, once the server has loaded everything: 35 % with libraries of which it loads some."""
STARTS_GRPC = {
    "channel": "import grpc; kept = grpc.insecure_channel('127.0.0.1:1')",
    "aio_channel": "import grpc; kept = grpc.aio.insecure_channel('127.0.0.1:1')",
    "server": "import grpc, concurrent.futures as f; kept = grpc.server(f.ThreadPoolExecutor())",
    "aio_server": "import grpc, asyncio\nasync def make(): return grpc.aio.server()\nkept = asyncio.run(make())",
}


class Loading:
    """Makes prefork servers that import `modules` as well, which may be files of `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._made: list[PreforkServer] = []

    def __call__(self, *modules: str) -> PreforkServer:
        server = PreforkServer(self.folder / "prefork.log", modules)
        self._made.append(server)
        server.start()
        server.wait_ready()
        return server

    def stop(self) -> None:
        for server in self._made:
            server.stop()


@pytest.fixture
def loading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Loading]:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    # numpy starts threads when it is imported, which end and start again at a fork.
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "1")
    made = Loading(tmp_path)
    yield made
    made.stop()


@contextlib.asynccontextmanager
async def health_server() -> AsyncIterator[str]:
    """The address of a gRPC server."""
    server = grpc.aio.server()
    health_pb2_grpc.add_HealthServicer_to_server(health.aio.HealthServicer(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(None)


def threads(server: PreforkServer) -> int:
    assert server.pid is not None
    return psutil.Process(server.pid).num_threads()


async def output_of_fork(server: PreforkServer, folder: Path, address: str, modules: Sequence[str]) -> str:
    """What the program CALLER prints as a fork of the server, in which `modules` are loaded."""
    (folder / "grpc_caller.py").write_text(CALLER, encoding="utf-8")
    log = folder / "caller.log"
    log.unlink(missing_ok=True)
    request = {"module": "grpc_caller", "arguments": [address, *modules], "name": "caller", "env": dict(os.environ)}
    process = server.spawn({**request, "log": str(log), "cwd": str(folder)})
    try:
        await wait_until(lambda: process.poll() is not None, 90, "the end of the fork")
    finally:
        process.kill()
    return log_tail(log)


@pytest.mark.parametrize("modules", [(), WITH_GRPC], ids=["as it is", "with modules that use gRPC"])
async def test_forks_call_grpc_servers_and_their_parent_has_one_thread(
    loading: Loading, tmp_path: Path, modules: tuple[str, ...]
) -> None:
    server = loading(*modules)
    assert threads(server) == 1
    async with health_server() as address:
        for _ in range(2):
            output = await output_of_fork(server, tmp_path, address, modules)
            assert "answered SERVING" in output
            assert re.search(r"copied [0-9] MiB, kept [0-3] MiB", output), output
    assert threads(server) == 1


@pytest.mark.parametrize("name", STARTS_GRPC)
def test_grpc_that_starts_in_the_parent_is_seen(loading: Loading, tmp_path: Path, name: str) -> None:
    """What the test above relies on: a module that starts gRPC when it is imported gives the parent more threads."""
    (tmp_path / f"starts_{name}.py").write_text(STARTS_GRPC[name], encoding="utf-8")
    assert threads(loading(f"starts_{name}")) > 1


async def test_a_fork_of_the_supervisor_shares_its_memory_and_ends_with_it(tmp_path: Path) -> None:
    (tmp_path / "ends.py").write_text(ENDS, encoding="utf-8")
    command = [sys.executable, "-c", SUPERVISOR]
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    codes, own_percent, pid = done.stdout.splitlines()
    assert codes == "0 7 1 1"
    assert int(own_percent) < MOST_OF_ITS_OWN_PERCENT
    log = (tmp_path / "ends.log").read_text(encoding="utf-8")
    assert log.count("at the end") == log.count("inherits 0") == log.count("reads locales 0") == 4
    assert "ValueError: on purpose" in log
    assert "a reason" in log
    await wait_until(lambda: has_ended(int(pid)), 10, "the end of the server")
