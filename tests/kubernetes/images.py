"""The images under test: those of this checkout, and a later build of two services to roll out."""

from __future__ import annotations

import os
import subprocess
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[2]
REGISTRY = os.environ.get("IMAGE_REGISTRY", "localhost/shopkeeper")
NEXT = ("order", "product")
"""The services that are rolled out while customers buy."""
BUILD_TIMEOUT_S = 1_800


def version() -> str:
    """The version that `make images` gives to what it builds."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return os.environ.get("VERSION", "") or str(project["version"])


def next_version() -> str:
    return f"{version()}-next"


def build() -> list[str]:
    """Every service's image, and those of `NEXT` once more: other labels, hence other images with the same layers."""
    return [*_build(version()), *_build(next_version(), *NEXT)]


def _build(tag: str, *nouns: str) -> list[str]:
    environment = {**os.environ, "IMAGE_REGISTRY": REGISTRY, "VERSION": tag}
    done = subprocess.run(
        [str(ROOT / "services" / "images.sh"), "build", *nouns],
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=BUILD_TIMEOUT_S,
    )
    return done.stdout.split()
