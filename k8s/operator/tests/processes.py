"""Whether a process of a test has ended."""

from __future__ import annotations

import psutil


def has_ended(pid: int) -> bool:
    """Also when nobody has waited for it yet. One look: between two of them a process may end."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
