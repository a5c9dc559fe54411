"""What skaffold builds and installs of each service."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from shop.devkit.generate.blocks import replaced
from shop.devkit.generate.charts import values_path
from shop.devkit.manifest import Manifests


def config(root: Path, manifests: Manifests) -> str:
    """skaffold.yaml."""
    return replaced(
        root / "skaffold.yaml",
        {
            "artifacts": [line for noun in manifests for line in _artifact(noun)],
            "images": [line for noun in manifests for line in _images(noun)],
            "dev-images": [
                f"- {{op: add, path: /build/artifacts/{index}/docker/target, value: dev}}"
                for index in range(len(manifests))
            ],
        },
    )


def _artifact(noun: str) -> Iterator[str]:
    yield f"- image: shop-{noun}"
    yield "  context: ."
    yield "  docker:"
    yield "    dockerfile: services/Dockerfile"
    yield f"    buildArgs: {{SERVICE: {noun}}}"
    yield "  sync:"
    yield "    manual:"
    source = f"services/{noun}/src/"
    yield f'      - {{src: "{source}shop/{noun}/**/*", strip: {source}, dest: /app/dev/service}}'


def _images(noun: str) -> Iterator[str]:
    for value, variable in (("repository", "REPO"), ("tag", "TAG")):
        yield f'{values_path(noun)}.image.{value}: "{{{{.IMAGE_{variable}_shop_{noun}}}}}"'


def shop(root: Path, manifests: Manifests) -> str:
    """k8s/skaffold/shop.yaml."""
    path = root / "k8s" / "skaffold" / "shop.yaml"
    return replaced(path, {"services": [f"{noun}: {{image: shop-{noun}}}" for noun in manifests]})
