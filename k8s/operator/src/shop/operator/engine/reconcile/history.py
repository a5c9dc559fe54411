"""The revisions of a Shop that became healthy, for rollbacks, in one Secret: `<shop>-history`.

A revision is every object as it was rendered, passwords among them: hence a Secret. Beside the revisions it mirrors the
Shop's seed, so that either Secret can be lost. Writing the same revision again after a crash changes nothing.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import logging
import zlib
from collections.abc import Awaitable, Callable, Mapping, Sequence

import orjson

from shop.operator.engine.cache.store import SEED_FIELD, Cache, seed_of
from shop.operator.engine.kube.client import Kube
from shop.operator.engine.kube.kinds import SECRET
from shop.operator.engine.kube.objects import ARGO_CD_IGNORE, SHOP_LABEL, NamespacedName, Object, Ref, labels_of
from shop.operator.engine.reconcile.apply import Blocked

HISTORY_SUFFIX = "-history"
KEPT = 5
"""Revisions kept, the newest included."""
MAX_BYTES = 900 * 1024
"""Of all revisions together, compressed; the API server takes 1 MiB of data in a Secret."""
MAX_UNPACKED_BYTES = 16 * 1024 * 1024

log = logging.getLogger(__name__)


class Unreadable(ValueError):
    """The stored revision is damaged."""


def encode(objects: Sequence[Object]) -> bytes:
    """Gzipped JSON; equal objects give equal bytes."""
    return gzip.compress(orjson.dumps(list(objects)), compresslevel=9, mtime=0)


def decode(packed: bytes) -> list[Object]:
    """Inverse of `encode`; Unreadable for anything else, or for more than MAX_UNPACKED_BYTES."""
    try:
        unpacker = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
        text = unpacker.decompress(packed, MAX_UNPACKED_BYTES)
        if not unpacker.eof:
            raise Unreadable("it is cut off or too large")
        found = orjson.loads(text)
    except (zlib.error, orjson.JSONDecodeError) as error:
        raise Unreadable(str(error)) from error
    if not isinstance(found, list):
        raise Unreadable("it is no list of objects")
    return found


def with_revision(kept: Mapping[int, bytes], revision: int, packed: bytes) -> dict[int, bytes]:
    """`kept` and one more: at most KEPT and MAX_BYTES, the oldest dropped first.

    Numbers above `revision` are of an earlier Shop of this name, whose Secrets were retained: they are dropped.
    One that does not fit even alone is left out.
    """
    left = MAX_BYTES
    found: dict[int, bytes] = {}
    for number in sorted((number for number in {*kept, revision} if number <= revision), reverse=True)[:KEPT]:
        one = packed if number == revision else kept[number]
        left -= len(one)
        if left < 0:
            break
        found[number] = one
    return dict(sorted(found.items()))


def revisions_of(secret: Object) -> dict[int, bytes]:
    """Packed revisions by number, as the API server gives the Secret; entries that are not base64 are left out."""
    found = {}
    for name, text in (secret.get("data") or {}).items():
        if name.isdecimal():
            try:
                found[int(name)] = base64.b64decode(text, validate=True)
            except binascii.Error:
                continue
    return found


def secret_of(key: NamespacedName, kept: Mapping[int, bytes], seed: bytes, resource_version: str = "") -> Object:
    """With a `resource_version`, the API server refuses it when it was changed since."""
    metadata: Object = {"name": key.name + HISTORY_SUFFIX, "namespace": key.namespace, "labels": labels_of(key.name)}
    metadata["annotations"] = dict(ARGO_CD_IGNORE)
    if resource_version:
        metadata["resourceVersion"] = resource_version
    data = {str(number): base64.b64encode(packed).decode() for number, packed in kept.items()}
    return {
        "apiVersion": SECRET.api_version,
        "kind": SECRET.kind,
        "metadata": metadata,
        "type": "Opaque",
        "data": {**data, SEED_FIELD: base64.b64encode(seed).decode()},
    }


class Revisions:
    """The history Secrets of all Shops. Conflict means that another client has just written one: try again."""

    def __init__(self, kube: Kube, cache: Cache) -> None:
        self._kube, self._cache = kube, cache

    async def load(self, key: NamespacedName, revision: int) -> list[Object]:
        """The objects of a revision; Blocked when it is not stored, or damaged."""
        secret = await self._get(key)
        packed = revisions_of(secret).get(revision) if secret else None
        if packed is None:
            raise Blocked(
                "RevisionLost", f"Secret {key.name}{HISTORY_SUFFIX} holds no revision {revision} to go back to"
            )
        try:
            return decode(packed)
        except Unreadable as error:
            why = f"Secret {key.name}{HISTORY_SUFFIX}: revision {revision} cannot be read: {error}"
            raise Blocked("RevisionLost", why) from error

    async def save(self, key: NamespacedName, revision: int, objects: Sequence[Object], seed: bytes) -> None:
        """Store a healthy revision; Blocked when a Secret of that name is not this Shop's.

        One that has lost its label is recognised by the seed in it.
        """
        secret = await self._get(key)
        labelled = secret is not None and secret["metadata"].get("labels", {}).get(SHOP_LABEL) == key.name
        if secret and not labelled and seed_of(secret) != seed:
            raise Blocked(
                "NameTaken", f"Secret {key.name}{HISTORY_SUFFIX} exists already and was not made for this Shop"
            )
        packed = encode(objects)
        kept = with_revision(revisions_of(secret) if secret else {}, revision, packed)
        if revision not in kept:
            log.warning("revision %d of Shop %s is not kept: %d bytes are too many", revision, key, len(packed))
        if secret and labelled and (revisions_of(secret), seed_of(secret)) == (kept, seed):
            return  # written by a process that ended before the response
        version = secret["metadata"]["resourceVersion"] if secret else ""
        await self._kube.apply(SECRET, secret_of(key, kept, seed, version), force=True)

    async def ensure(
        self, key: NamespacedName, revision: int, objects: Callable[[], Awaitable[Sequence[Object]]], seed: bytes
    ) -> None:
        """Create the Secret again when it was deleted, with the `objects`; without a request when it is there."""
        if Ref(SECRET.api_version, SECRET.kind, key.name + HISTORY_SUFFIX) not in self._cache.children(key):
            await self.save(key, revision, await objects(), seed)

    async def numbers(self, key: NamespacedName) -> list[int]:
        """The stored revisions, oldest first."""
        secret = await self._get(key)
        return sorted(revisions_of(secret)) if secret else []

    async def seed(self, key: NamespacedName) -> bytes | None:
        """The mirrored seed; None when there is no history."""
        secret = await self._get(key)
        return seed_of(secret) if secret else None

    async def _get(self, key: NamespacedName) -> Object | None:
        return await self._kube.get(SECRET, key.namespace, key.name + HISTORY_SUFFIX)
