"""What follows from the services' manifests. `make generate` writes it, and a test compares it with what is there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from shop.devkit import manifest
from shop.devkit.generate import charts, documents, gateway, operator, ops, skaffold, stubs, workspace

Writer = Callable[[Path, manifest.Manifests], str]
"""From the project's folder and the manifests to the text of one file."""

WRITERS: Final[Mapping[str, Writer]] = {
    "services/gateway/src/shop/gateway/services.py": gateway.services,
    "services/ops/src/shop/ops/services.py": ops.services,
    "k8s/operator/src/shop/operator/services.py": operator.services,
    "k8s/operator/src/shop/operator/resource/spec_modules.py": operator.modules,
    "pyproject.toml": workspace.pyproject,
    "charts/shop/values.yaml": charts.values,
    "charts/shop/values-gitops.yaml": charts.gitops,
    "skaffold.yaml": skaffold.config,
    "k8s/skaffold/shop.yaml": skaffold.shop,
    "docs/architecture.md": documents.architecture,
}
"""By path from the project's folder. A writer of a part of a file keeps the rest of it as it stands."""


def files(root: Path) -> dict[str, str]:
    """Every generated file below `root` with the text that it should have."""
    manifests = manifest.read(root)
    return {path: write(root, manifests) for path, write in WRITERS.items()} | stubs.stubs(root, manifests)


def write(root: Path) -> list[str]:
    """Write what differs, and delete generated files that nothing needs; their paths."""
    wanted = files(root)
    changed = {path: text for path, text in wanted.items() if not _is(root / path, text)}
    for path, text in changed.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, encoding="utf-8")
    old = stubs.stale(root, wanted)
    for file in old:
        file.unlink()
    return [*changed, *(file.relative_to(root).as_posix() for file in old)]


def _is(path: Path, text: str) -> bool:
    return path.is_file() and path.read_text(encoding="utf-8") == text
