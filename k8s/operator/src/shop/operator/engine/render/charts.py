"""The charts that a Shop is rendered with: those of the version that it names, never others.

The operator's image has the charts of its own version as a folder, and those of earlier versions as archives of
`make package`, in the folder EARLIER beside it. Other versions are not rendered.
"""

from __future__ import annotations

import hashlib
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from shop.operator.engine.render.values import RenderError

EARLIER = "earlier"
CHART = "shop"
MAX_EARLIER = 5
"""Archives of earlier versions in an operator's image."""
_NOT_RENDERED = ("README.md", "NOTES.txt", "values.schema.json", "values-*.yaml", ".*", "tests/*")
"""Files of a chart that do not influence its objects."""


class Charts:
    """`folder` has the chart of `version` and maybe earlier ones; ValueError when those are too many."""

    def __init__(self, folder: Path, version: str) -> None:
        archives = sorted((folder / EARLIER).glob(f"{CHART}-*.tgz"))
        if len(archives) > MAX_EARLIER:
            raise ValueError(f"{folder / EARLIER} has {len(archives)} charts, more than {MAX_EARLIER}")
        earlier = {path.name.removeprefix(f"{CHART}-").removesuffix(".tgz"): path for path in archives}
        self._own = version
        self._paths = {**earlier, version: folder / CHART}
        self._digests = {path: digest_of(path) for path in self._paths.values()}

    def path(self, version: str | None) -> Path:
        """A folder or an archive; None is the operator's own version. RenderError names the versions that exist."""
        version = version or self._own
        if version not in self._paths:
            earlier = ", ".join(sorted(self._paths.keys() - {self._own})) or "no earlier ones"
            raise RenderError(
                f"spec.version: this operator has no charts of {version}, and images are only run with their own: "
                f"it has {self._own} and {earlier}"
            )
        return self._paths[version]

    def digest(self, version: str | None) -> str:
        """Hash of what its objects depend on; RenderError as `path`."""
        return self._digests[self.path(version)]


def digest_of(chart: Path) -> str:
    """Hash over the files that the chart's objects depend on, symbolic links followed."""
    found = hashlib.sha256()
    for path, content in sorted(_files(chart)):
        if not any(path.match(pattern) for pattern in _NOT_RENDERED):
            found.update(f"{path}\0".encode())
            found.update(hashlib.sha256(content).digest())
    return found.hexdigest()


def _files(chart: Path) -> Iterator[tuple[PurePosixPath, bytes]]:
    """The files of a folder or an archive, by their paths in the chart."""
    if chart.suffix == ".tgz":
        with tarfile.open(chart) as archive:
            for member in archive:
                if content := archive.extractfile(member):
                    yield PurePosixPath(*PurePosixPath(member.name).parts[1:]), content.read()
        return
    for folder, _, files in os.walk(chart, followlinks=True):
        for path in (Path(folder, name) for name in files):
            yield PurePosixPath(path.relative_to(chart)), path.read_bytes()
