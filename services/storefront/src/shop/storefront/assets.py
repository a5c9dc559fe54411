"""Static files, served from memory under URLs with a content hash so that they can be cached indefinitely."""

from __future__ import annotations

import hashlib
import mimetypes
import re
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from fastapi import APIRouter, Request
from starlette.responses import Response

from shop.kit.compression import matches
from shop.kit.errors import Problem

STATIC_DIR = Path(__file__).parent / "static"
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


def _load() -> dict[str, Asset]:
    """The files of the folder, and the style of the town's map."""
    assets = {"map.css": Asset("map.css", resources.files("shop.town").joinpath("map.css").read_bytes(), "text/css")}
    for path in sorted(STATIC_DIR.iterdir()):
        media_type = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        assets[path.name] = Asset(path.name, _with_hashed_imports(path), media_type)
    return assets


def _with_hashed_imports(path: Path) -> bytes:
    """The file's content. A module names what it imports by the hash of that: a page never mixes modules of two
    releases. Modules that import each other would recur without an end."""

    def hashed(match: re.Match[bytes]) -> bytes:
        name = match[0].decode().removeprefix("./")
        imported = Asset(name, _with_hashed_imports(path.with_name(name)), "text/javascript")
        return f"../{imported.digest}/{name}".encode()

    body = path.read_bytes()
    return IMPORT.sub(hashed, body) if path.suffix == ".js" else body


ASSETS = _load()

router = APIRouter(include_in_schema=False)


def asset_url(name: str) -> str:
    """The URL of a file; it changes with the content."""
    return f"/static/{ASSETS[name].digest}/{name}"


@router.get("/static/{digest}/{name}")
async def static(request: Request, digest: str, name: str) -> Response:
    """The file. An older hash, from a page of the previous release, gets the current file."""
    asset = ASSETS.get(name)
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


@router.get("/favicon.ico")
async def favicon(request: Request) -> Response:
    asset = ASSETS["icon.svg"]
    return await static(request, asset.digest, asset.name)
