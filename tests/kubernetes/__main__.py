"""The operator on a real API server, then the shop on a real Kubernetes, from the images on: `make e2e`.

What is given on the command line goes to pytest. `--keep` leaves the cluster running, for a look at it or for a quicker
next time. The operator's tests need no nodes; they are skipped where there is no kube-apiserver.

Much of this is waiting for deadlines and pods, so two parts run at the same time. The tests of the Helm release, which
allow no request to fail, come last, when the machine has the least else to do.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

from tests import rerun
from tests.kubernetes import clusters, images

KEEP = "--keep"
PARTS_AT_ONCE = 2
WORKERS = 2
FOLDER = "tests/kubernetes"
NOT_OF_THE_RELEASE = tuple(
    f"{FOLDER}/{name}" for name in ("test_8_operator.py", "test_5_full_volume.py", "test_0_images.py")
)
"""They do not need the gateway's fixed port, which only one shop at a time can have."""
# What a test prints is seen when it prints it.
SHOWN = ("--durations=25", "--capture=tee-sys", "-vv")


@dataclass(frozen=True)
class Part:
    """Tests that run in one process of pytest."""

    name: str
    tests: Sequence[str]
    options: Sequence[str]

    def run(self, arguments: Sequence[str], environment: Mapping[str, str]) -> int:
        """pytest's exit code."""
        began = time.monotonic()
        environment = {**environment, clusters.PART: self.name}
        options = (*self.options, f"--junitxml={rerun.FOLDER / self.name}.xml", *arguments)
        code = rerun.run(self.tests, *options, name=self.name, environment=environment)
        print(f"part {self.name}: {time.monotonic() - began:.0f} s, code {code}", flush=True)
        return code


ON_AN_API_SERVER = Part(
    "operator",
    ["tests/operator"],
    ["--durations=25", "-n", str(WORKERS), "--dist", "loadfile", "-p", "tests.longest_first", "--no-loadscope-reorder"],
)
IN_OTHER_NAMESPACES = Part("shops", NOT_OF_THE_RELEASE, SHOWN)
OF_THE_RELEASE = Part("release", [FOLDER], [*SHOWN, *(f"--ignore={path}" for path in NOT_OF_THE_RELEASE)])


def main() -> int:
    """The first exit code that is not 0: of what prepares the cluster, which says why, or of pytest."""
    arguments = [argument for argument in sys.argv[1:] if argument != KEEP]
    cluster = clusters.find()
    print(f"cluster: {cluster.name}", flush=True)
    try:
        cluster.prepare()
        return run(cluster, arguments)
    except subprocess.CalledProcessError as error:
        return error.returncode


def run(cluster: clusters.Cluster, arguments: Sequence[str]) -> int:
    """The operator's tests while the cluster starts; then the parts that need it, as soon as one of two has ended."""
    with ThreadPoolExecutor(PARTS_AT_ONCE) as parts:
        running = [parts.submit(ON_AN_API_SERVER.run, arguments, os.environ)]
        try:
            environment = started(cluster)
            running += [
                parts.submit(part.run, arguments, environment) for part in (IN_OTHER_NAMESPACES, OF_THE_RELEASE)
            ]
            return first_failure(running)
        finally:
            if KEEP not in sys.argv:
                cluster.down()


def started(cluster: clusters.Cluster) -> dict[str, str]:
    """The environment for tests in the cluster, which has started and has the images."""
    began = time.monotonic()
    cluster.up()
    cluster.load(images.build())
    print(f"ready for the tests after {time.monotonic() - began:.0f} s", flush=True)
    return {**os.environ, **cluster.environment(), clusters.VARIABLE: cluster.name}


def first_failure(running: Sequence[Future[int]]) -> int:
    """The first exit code that is not 0, once all have ended."""
    codes = [part.result() for part in running]
    return next((code for code in codes if code), 0)


if __name__ == "__main__":
    sys.exit(main())
