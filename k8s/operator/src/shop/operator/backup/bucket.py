"""Backups in a bucket of S3 or a compatible service.

A backup is the objects below PATH/NAME/. Its manifest is written last and deleted first, so that a backup with a
manifest is a whole one. This module runs in the cluster, beside the scripts that dump and restore.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import certifi
import urllib3
from minio import Minio
from minio.deleteobjects import DeleteObject
from minio.error import S3Error

MANIFEST = "manifest.json"
NAME = re.compile(r"\d{8}T\d{6}Z")
CONNECT_TIMEOUT_S = 10.0
READ_TIMEOUT_S = 120.0
TRIES = 6
BACKOFF_S = 0.5
LEFTOVER_AFTER = timedelta(hours=25)
"""No backup takes that long, so one without a manifest has failed."""
MAX_MANIFEST_BYTES = 1_000_000


class BucketError(Exception):
    """The bucket does not hold or take what it should; the message is a sentence for a person."""


@dataclass(frozen=True)
class Stored:
    """A backup in the bucket: its objects by file name, and when the last of them was written."""

    name: str
    files: Mapping[str, str]
    written: datetime

    @property
    def whole(self) -> bool:
        return MANIFEST in self.files


class Bucket:
    """The backups below one path of one bucket."""

    def __init__(self, client: Minio, place: str) -> None:
        parts = urlsplit(place)
        if parts.scheme != "s3" or not parts.netloc:
            raise BucketError(f"{place} is no place in a bucket: s3://BUCKET/path")
        self._client = client
        self._bucket = parts.netloc
        self._prefix = f"{parts.path.strip('/')}/".removeprefix("/")
        self._place = f"s3://{self._bucket}/{self._prefix}".rstrip("/")

    def push(self, folder: Path) -> None:
        """Store the backup `folder` under its name."""
        files = sorted(path for path in folder.iterdir() if path.name != MANIFEST)
        for path in [*files, folder / MANIFEST]:
            self._client.fput_object(self._bucket, f"{self._prefix}{folder.name}/{path.name}", str(path))

    def pull(self, name: str, folder: Path) -> None:
        """Download the backup `name` into `folder`; the folder gets its name when it is complete."""
        found = next((one for one in self.backups() if one.name == name and one.whole), None)
        if found is None:
            raise BucketError(f"{self._place} holds no complete backup {name}")
        partial = folder / f".partial-{name}"
        partial.mkdir(exist_ok=True)
        for file, key in found.files.items():
            self._client.fget_object(self._bucket, key, str(partial / file))
        partial.rename(folder / name)

    def backups(self) -> list[Stored]:
        """Every backup below the path, complete or not, oldest first."""
        found: dict[str, dict[str, Any]] = {}
        for one in self._client.list_objects(self._bucket, self._prefix, recursive=True):
            name, _, file = str(one.object_name).removeprefix(self._prefix).partition("/")
            if NAME.fullmatch(name) and file and "/" not in file:
                found.setdefault(name, {})[file] = one
        return [
            Stored(
                name,
                {file: str(one.object_name) for file, one in objects.items()},
                max(one.last_modified for one in objects.values()),
            )
            for name, objects in sorted(found.items())
        ]

    def prune(self, shop: str, keep: int) -> list[str]:
        """Delete this shop's complete backups except the newest `keep`, and failed ones; returns their names."""
        all_of_them = self.backups()
        whole = [one for one in all_of_them if one.whole and self.shop_of(one.name) == shop]
        limit = datetime.now(UTC) - LEFTOVER_AFTER
        gone = [one for one in all_of_them if not one.whole and one.written < limit]
        gone += whole[: max(0, len(whole) - keep)]
        for one in gone:
            self._delete(one)
        return [one.name for one in gone]

    def newest(self) -> str:
        """The name of the newest whole backup; BucketError without any, or when they are of several shops."""
        names = [one.name for one in self.backups() if one.whole]
        if not names:
            raise BucketError(f"{self._place} holds no complete backup")
        shops = sorted({self.shop_of(name) for name in names})
        if len(shops) > 1:
            listed = " ".join(shops)
            raise BucketError(f"{self._place} holds backups of several shops ({listed}): name one")
        return names[-1]

    def shop_of(self, name: str) -> str:
        """The shop that the backup `name` is of."""
        answer = self._client.get_object(self._bucket, f"{self._prefix}{name}/{MANIFEST}")
        try:
            manifest = json.loads(answer.read(MAX_MANIFEST_BYTES))
        except ValueError as error:
            raise BucketError(f"the manifest of {name} cannot be read: {error}") from error
        finally:
            answer.close()
            answer.release_conn()
        return str(manifest.get("shop", ""))

    def holds(self, file: str) -> bool:
        """Whether an object of that name lies directly below the path."""
        try:
            self._client.stat_object(self._bucket, f"{self._prefix}{file}")
        except S3Error as error:
            if error.code in ("NoSuchKey", "NotFound"):
                return False
            raise
        return True

    def _delete(self, one: Stored) -> None:
        """The manifest first: without it what is left is no complete backup."""
        first = [key for file, key in one.files.items() if file == MANIFEST]
        rest = [key for file, key in one.files.items() if file != MANIFEST]
        for keys in (first, rest):
            for failed in self._client.remove_objects(self._bucket, [DeleteObject(key) for key in keys]):
                raise BucketError(f"{failed.name} cannot be deleted: {failed.message}")


def connect(environment: Mapping[str, str]) -> Minio:
    """A client for S3_ENDPOINT with S3_ACCESS_KEY and S3_SECRET_KEY; S3_REGION may be left out."""
    given = environment["S3_ENDPOINT"]
    parts = urlsplit(given if "://" in given else f"https://{given}")
    if parts.scheme not in ("http", "https") or not parts.netloc or parts.path.strip("/"):
        raise BucketError(f"endpoint {given} is none: such as https://s3.example.com")
    retries = urllib3.Retry(total=TRIES - 1, backoff_factor=BACKOFF_S, status_forcelist=[500, 502, 503, 504])
    pool = urllib3.PoolManager(
        timeout=urllib3.Timeout(connect=CONNECT_TIMEOUT_S, read=READ_TIMEOUT_S),
        retries=retries,
        cert_reqs="CERT_REQUIRED",
        ca_certs=environment.get("SSL_CERT_FILE") or certifi.where(),
    )
    return Minio(
        parts.netloc,
        access_key=environment["S3_ACCESS_KEY"],
        secret_key=environment["S3_SECRET_KEY"],
        region=environment.get("S3_REGION") or None,
        secure=parts.scheme == "https",
        http_client=pool,
    )
