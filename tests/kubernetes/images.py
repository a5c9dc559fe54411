"""The images under test: those of this checkout, a second build of two services, and those of the previous commit."""

from __future__ import annotations

import os
import shutil
import subprocess
import tomllib
from pathlib import Path

from tests.architecture.source import LIBRARIES

ROOT = Path(__file__).parents[2]
REGISTRY = os.environ.get("IMAGE_REGISTRY", "localhost/shopkeeper")
NEXT = ("order", "product")
"""The services that are rolled out under load."""
PREVIOUS = ROOT / "build" / "e2e" / "previous"
"""A checkout of FROM."""
FROM = os.environ.get("SHOP_E2E_FROM", "HEAD~1")
"""The revision that is upgraded from; that of the last release says more than the commit before this one."""
BUILD_TIMEOUT_S = 1_800
GIT_TIMEOUT_S = 60


def version() -> str:
    """The version that `make images` gives to what it builds."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return os.environ.get("VERSION", "") or str(project["version"])


def next_version() -> str:
    return f"{version()}-next"


def previous_version() -> str:
    return f"{version()}-previous"


def build() -> list[str]:
    """Every service's image, and those of `NEXT` again: other labels, so other images with the same layers.

    Also those of the commit before, where the checkout has it.
    """
    found = [*_build(version()), *_build(next_version(), *NEXT)]
    if take_out_previous():
        nouns = {path.parent.name for path in PREVIOUS.glob("services/*/pyproject.toml")}
        found += _build(previous_version(), *sorted(nouns.difference(LIBRARIES)), source=PREVIOUS)
    return found


def take_out_previous() -> bool:
    """Check out FROM into `PREVIOUS`; False if the repository does not have it."""
    shutil.rmtree(PREVIOUS, ignore_errors=True)
    packed = subprocess.run(["git", "archive", FROM], cwd=ROOT, capture_output=True, check=False, timeout=GIT_TIMEOUT_S)
    if packed.returncode:
        return False
    PREVIOUS.mkdir(parents=True)
    subprocess.run(["tar", "-x"], cwd=PREVIOUS, input=packed.stdout, check=True, timeout=GIT_TIMEOUT_S)
    return True


def save(noun: str, archive: Path) -> None:
    """An image of this checkout as an archive like docker's."""
    _images_sh(version(), "save", noun, str(archive))


def _build(tag: str, *nouns: str, source: Path = ROOT) -> list[str]:
    return _images_sh(tag, "build", *nouns, source=source).split()


def _images_sh(tag: str, *arguments: str, source: Path = ROOT) -> str:
    """What services/images.sh of a checkout prints."""
    done = subprocess.run(
        [str(source / "services" / "images.sh"), *arguments],
        env={**os.environ, "IMAGE_REGISTRY": REGISTRY, "VERSION": tag},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=BUILD_TIMEOUT_S,
    )
    return done.stdout
