"""The operator on a real API server, then the shop on a real Kubernetes, from the images on: `make e2e`.

What is given on the command line goes to pytest. `--keep` leaves the cluster running, for a look at it or for a quicker
next time. The operator's tests need no nodes; they are skipped where there is no kube-apiserver.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence

from tests.kubernetes import clusters, images

KEEP = "--keep"
WORKERS = 2
NOTHING_COLLECTED = 5


def main() -> int:
    """The first exit code that is not 0: of what prepares the cluster, which says why, or of pytest."""
    arguments = [argument for argument in sys.argv[1:] if argument != KEEP]
    cluster = clusters.find()
    print(f"cluster: {cluster.name}", flush=True)
    try:
        cluster.prepare()
    except subprocess.CalledProcessError as error:
        return error.returncode
    codes = [operator(arguments), shop(cluster, arguments)]
    return next((code for code in codes if code), 0)


def operator(arguments: Sequence[str]) -> int:
    """The operator's tests, before a cluster takes its share of the machine."""
    return pytest("tests/operator", "-n", str(WORKERS), "--dist", "loadfile", *arguments, environment=dict(os.environ))


def shop(cluster: clusters.Cluster, arguments: Sequence[str]) -> int:
    """Images, cluster, tests."""
    started = time.monotonic()
    cluster.up()
    try:
        cluster.load(images.build())
        print(f"ready for the tests after {time.monotonic() - started:.0f} s", flush=True)
        environment = {**os.environ, **cluster.environment(), clusters.VARIABLE: cluster.name}
        # What a test prints is seen when it prints it, and every test when it starts.
        return pytest("tests/kubernetes", "--capture=tee-sys", "-vv", *arguments, environment=environment)
    finally:
        if KEEP not in sys.argv:
            cluster.down()


def pytest(*arguments: str, environment: Mapping[str, str]) -> int:
    """Its exit code; that nothing was chosen is no failure."""
    command = [sys.executable, "-m", "pytest", "--durations=15", *arguments]
    code = subprocess.run(command, cwd=images.ROOT, env=environment, check=False).returncode
    return 0 if code == NOTHING_COLLECTED else code


if __name__ == "__main__":
    sys.exit(main())
