"""The lists in the project's pyproject.toml that name every service."""

from __future__ import annotations

from pathlib import Path

from shop.devkit.generate.blocks import replaced
from shop.devkit.manifest import Manifests


def pyproject(root: Path, manifests: Manifests) -> str:
    modules = [f'"shop.{noun}",' for noun in manifests]
    return replaced(
        root / "pyproject.toml",
        {
            "dependencies": [f'"shop-{noun}",' for noun in manifests],
            "sources": [f"shop-{noun} = {{ workspace = true }}" for noun in manifests],
            "mypy-path": [f'"services/{noun}/src",' for noun in manifests],
            "root-packages": modules,
            "independence": modules,
            "layer": [f'"{" | ".join(["shop.devkit", *(f"shop.{noun}" for noun in manifests)])}",'],
        },
    )
