"""The operator on a real API server, then the shop on a real Kubernetes, from the images on: `make e2e`.

What is given on the command line goes to pytest. `--keep` leaves the cluster running, for a look at it or for a quicker
next time. `--prepare` only builds what takes long and is cached, programs and images: `.ci/run` does it while the other
tests run. The operator's tests need no nodes; they are skipped where there is no kube-apiserver.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Sequence

from tests import rerun
from tests.kubernetes import clusters, images

KEEP, PREPARE = "--keep", "--prepare"
WORKERS = 2
LONGEST = "--durations=15"


def main() -> int:
    """The first exit code that is not 0: of what prepares the cluster, which says why, or of pytest."""
    arguments = [argument for argument in sys.argv[1:] if argument != KEEP]
    cluster = clusters.find()
    print(f"cluster: {cluster.name}", flush=True)
    try:
        cluster.prepare()
        if PREPARE in arguments:
            images.build()
            return 0
    except subprocess.CalledProcessError as error:
        return error.returncode
    codes = [operator(arguments), shop(cluster, arguments)]
    return next((code for code in codes if code), 0)


def operator(arguments: Sequence[str]) -> int:
    """The operator's tests, before a cluster takes its share of the machine."""
    return rerun.run("tests/operator", LONGEST, "-n", str(WORKERS), "--dist", "loadfile", *arguments)


def shop(cluster: clusters.Cluster, arguments: Sequence[str]) -> int:
    """Images, cluster, tests."""
    started = time.monotonic()
    cluster.up()
    try:
        cluster.load(images.build())
        print(f"ready for the tests after {time.monotonic() - started:.0f} s", flush=True)
        environment = {**os.environ, **cluster.environment(), clusters.VARIABLE: cluster.name}
        # What a test prints is seen when it prints it, and every test when it starts.
        return rerun.run("tests/kubernetes", LONGEST, "--capture=tee-sys", "-vv", *arguments, environment=environment)
    finally:
        if KEEP not in sys.argv:
            cluster.down()


if __name__ == "__main__":
    sys.exit(main())
