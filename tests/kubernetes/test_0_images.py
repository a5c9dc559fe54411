"""Contents of an image: the service and the libraries, and its labels."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.architecture.source import IMAGE_LIBRARIES
from tests.architecture.test_images import LABELS
from tests.kubernetes import images

LIBRARIES = {("kit", "shop", name) for name in IMAGE_LIBRARIES}


@dataclass(frozen=True)
class Image:
    """`files` are those below /app, as the parts of their paths from there."""

    labels: dict[str, str]
    files: set[tuple[str, ...]]


def read(archive: Path) -> Image:
    with tarfile.open(archive) as found:
        [manifest] = json.load(_open(found, "manifest.json"))
        labels = json.load(_open(found, manifest["Config"]))["config"]["Labels"]
        files = {name for layer in manifest["Layers"] for name in _files(found, layer)}
    return Image(labels, {path.parts[1:] for path in map(Path, files) if path.parts[0] == "app"})


def _open(archive: tarfile.TarFile, name: str) -> tarfile.ExFileObject:
    found = archive.extractfile(name)
    assert isinstance(found, tarfile.ExFileObject), name
    return found


def _files(archive: tarfile.TarFile, layer: str) -> Iterator[str]:
    with tarfile.open(fileobj=_open(archive, layer)) as found:
        yield from (member.name for member in found if member.isfile())


@pytest.mark.parametrize(
    ("noun", "folders", "ours"),
    [
        (
            "order",
            {".venv", "kit", "service"},
            {*LIBRARIES, ("service", "shop", "order")},
        ),
        (
            "operator",
            {".venv", "kit", "operator", "charts"},
            {*LIBRARIES, ("operator", "site-packages", "shop")},
        ),
    ],
)
def test_an_image_contains_only_its_own_service_and_is_labelled(
    tmp_path: Path, noun: str, folders: set[str], ours: set[tuple[str, ...]]
) -> None:
    images.save(noun, tmp_path / "image.tar")
    image = read(tmp_path / "image.tar")
    assert image.labels.keys() >= LABELS
    assert image.labels["org.opencontainers.image.title"] == f"shop-{noun}"
    assert image.labels["org.opencontainers.image.version"] == images.version()
    assert {path[0] for path in image.files} == folders
    outside = {path for path in image.files if path[0] != ".venv" and "shop" in path[1:-1]}
    assert {path[:3] for path in outside if path[0] != "charts"} == ours
    assert {path for path in outside if "tests" in path} == set()
