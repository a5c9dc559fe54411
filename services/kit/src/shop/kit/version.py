"""The version of a service, which instances report and are registered with."""

from __future__ import annotations

import importlib.metadata


def version_of(service: str) -> str:
    """That of its installed package; empty where it is not installed as one."""
    try:
        return importlib.metadata.version(f"shop-{service}")
    except importlib.metadata.PackageNotFoundError:
        return ""
