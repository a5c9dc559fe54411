"""How fast this machine is at the moment: without that, figures of two days or two machines say nothing."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

import psutil

ADDITIONS = 20_000_000
SYNC_SECONDS = 0.5
SYNCED_BYTES = 8_192
LOAD_SECONDS = 0.5
"""How long other programs' use of the processors is looked at."""


def measure(folder: Path) -> dict[str, float]:
    """Seconds of 20 million additions in one Python process, disk syncs a second in ``folder``, how busy others are."""
    return {
        "others_percent": psutil.cpu_percent(LOAD_SECONDS),
        "additions_s": round(_additions_s(), 3),
        "syncs_per_s": round(_syncs_per_s(folder)),
        "load_average": round(os.getloadavg()[0], 2),
    }


def _additions_s() -> float:
    began, total = time.perf_counter(), 0
    for number in range(ADDITIONS):
        total += number
    return time.perf_counter() - began


def _syncs_per_s(folder: Path) -> float:
    """Each time a page is written at the same place, as the database's log does."""
    with tempfile.TemporaryFile(dir=folder) as file:
        page, count, began = os.urandom(SYNCED_BYTES), 0, time.perf_counter()
        while (taken_s := time.perf_counter() - began) < SYNC_SECONDS:
            os.pwrite(file.fileno(), page, 0)
            os.fdatasync(file.fileno())
            count += 1
    return count / taken_s


def line(found: dict[str, float]) -> str:
    """For people."""
    return (
        f"machine's speed: 20 million additions {found['additions_s']:.2f} s, {found['syncs_per_s']:.0f} disk syncs/s; "
        f"others used {found['others_percent']:.0f} % of it, load average {found['load_average']:g}"
    )
