"""Where promtool and the Prometheus server are found: on the PATH, or where `.ci/run` unpacks them."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.charts import helm

TIMEOUT_S = 120


def program(name: str) -> Path:
    """promtool or prometheus; skips the test without it."""
    found = shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), str(helm.CACHE)]))
    if found is None:
        pytest.skip(f"{name} is neither on the PATH nor in {helm.CACHE}")
    return Path(found)


def promtool(*arguments: str) -> None:
    """Its output is the failure message."""
    command = [str(program("promtool")), *arguments]
    environment = {**os.environ, **helm.NO_COLLECTION}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
