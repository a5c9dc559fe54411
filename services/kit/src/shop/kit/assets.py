"""Static files of pages, served from memory under URLs with a content hash so that they can be cached indefinitely."""

from __future__ import annotations

import hashlib
import mimetypes
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from fastapi import Request
from starlette.responses import Response

from shop.kit.compression import matches
from shop.kit.errors import Problem

HASH_CHARACTERS = 12
IMMUTABLE = "public, max-age=31536000, immutable"
ONE_HOUR = "public, max-age=3600"
IMPORT = re.compile(rb'(?<= from ")\./[\w.-]+\.js(?=")')
"""What a module imports from another one of the folder."""


@dataclass(frozen=True)
class Asset:
    name: str
    body: bytes
    media_type: str

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.body).hexdigest()[:HASH_CHARACTERS]


class Assets:
    """The files of ``folder`` and ``others``, below the URL ``prefix``."""

    def __init__(self, folder: Path, prefix: str = "/static", others: Iterable[Asset] = ()) -> None:
        self._prefix = prefix
        self.by_name = {asset.name: asset for asset in others}
        for path in sorted(folder.iterdir()):
            media_type = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
            self.by_name[path.name] = Asset(path.name, _with_hashed_imports(path), media_type)

    def url(self, name: str) -> str:
        """The URL of a file; it changes with the content."""
        return f"{self._prefix}/{self.by_name[name].digest}/{name}"

    def answer(self, request: Request, digest: str, name: str) -> Response:
        """The file, Problem 404 for none. An older hash, from a page of the previous release, gets the current file."""
        asset = self.by_name.get(name)
        if asset is None:
            raise Problem(404, "not_found", "There is no such file.")
        headers = {
            "ETag": f'W/"{asset.digest}"',
            "Cache-Control": IMMUTABLE if digest == asset.digest else ONE_HOUR,
            "X-Content-Type-Options": "nosniff",
        }
        if matches(request.headers.get("if-none-match", ""), headers["ETag"]):
            return Response(status_code=304, headers=headers)
        return Response(asset.body, headers=headers, media_type=asset.media_type)


def _with_hashed_imports(path: Path) -> bytes:
    """The file's content. A module names what it imports by the hash of that: a page never mixes modules of two
    releases. Modules that import each other would recur without an end."""

    def hashed(match: re.Match[bytes]) -> bytes:
        name = match[0].decode().removeprefix("./")
        imported = Asset(name, _with_hashed_imports(path.with_name(name)), "text/javascript")
        return f"../{imported.digest}/{name}".encode()

    body = path.read_bytes()
    return IMPORT.sub(hashed, body) if path.suffix == ".js" else body
