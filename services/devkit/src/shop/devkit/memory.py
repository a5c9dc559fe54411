"""Folders in memory for the data of servers in tests: a database is cloned there in a tenth of the time."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

MEMORY = Path("/dev/shm")  # noqa: S108
PREFIX = "shop-tests-"
MIN_FREE_BYTES = 4 << 30
"""Several test processes have a folder each, and a whole shop refuses to start without room for its streams."""


@contextlib.contextmanager
def folder(memory: Path = MEMORY, min_free_bytes: int = MIN_FREE_BYTES) -> Iterator[Path | None]:
    """A folder that is deleted at the end; None where the system has no folder in memory or too little room there."""
    if not memory.is_dir() or shutil.disk_usage(memory).free < min_free_bytes:
        yield None
        return
    delete_left_behind(memory)
    with tempfile.TemporaryDirectory(prefix=f"{PREFIX}{os.getpid()}-", dir=memory, ignore_cleanup_errors=True) as made:
        # PostgreSQL runs as another user where tests run as root.
        Path(made).chmod(0o711)
        yield Path(made)


def delete_left_behind(memory: Path) -> None:
    """Delete the folders of processes that were killed."""
    for path in memory.glob(f"{PREFIX}*"):
        process = path.name.removeprefix(PREFIX).partition("-")[0]
        if not Path("/proc", process).exists():
            shutil.rmtree(path, ignore_errors=True)
