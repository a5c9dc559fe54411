"""The shop on a real Kubernetes, from the images on: `make e2e`. What is given on the command line goes to pytest.

`--keep` leaves the cluster running, for a look at it or for a quicker next time.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time

from tests.kubernetes import clusters, images

KEEP = "--keep"


def main() -> int:
    """Images, cluster, tests; the exit code is pytest's."""
    arguments = [argument for argument in sys.argv[1:] if argument != KEEP]
    started = time.monotonic()
    cluster = clusters.find()
    print(f"cluster: {cluster.name}", flush=True)
    cluster.up()
    try:
        built = images.build()
        cluster.load(built)
        print(f"ready for the tests after {time.monotonic() - started:.0f} s", flush=True)
        environment = {**os.environ, **cluster.environment(), clusters.VARIABLE: cluster.name}
        command = [
            sys.executable,
            "-m",
            "pytest",
            "tests/kubernetes",
            # What a test prints is seen when it prints it, and every test when it starts.
            "--capture=tee-sys",
            "-vv",
            "--durations=15",
            *arguments,
        ]
        return subprocess.run(command, cwd=images.ROOT, env=environment, check=False).returncode
    finally:
        if KEEP not in sys.argv:
            cluster.down()


if __name__ == "__main__":
    sys.exit(main())
