"""What is kept of a Shop in two Secrets of its own: `<shop>-history` and `<shop>-seed`.

The history has the revisions that became healthy, for rollbacks. A revision is every object as it was rendered,
passwords among them: hence a Secret. Writing the same revision again after a crash changes nothing.

The seed is what all passwords of the Shop are derived from: created once and never changed. The history mirrors it, so
that either Secret can be lost.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import logging
import secrets
import zlib
from collections.abc import Mapping, Sequence

import orjson

from shop.operator.engine.cache.store import SEED_FIELD, SEED_SUFFIX, Cache, seed_of
from shop.operator.engine.reconcile.apply import Blocked
from shop.operator.engine.status.shop_view import ShopView
from shop.operator.kube.api_errors import Conflict
from shop.operator.kube.client import Kube
from shop.operator.kube.kinds import SECRET
from shop.operator.kube.objects import (
    ARGO_CD_IGNORE,
    SHOP_LABEL,
    NamespacedName,
    Object,
    Ref,
    shop_secret,
)

HISTORY_SUFFIX = "-history"
SEED_BYTES = 32
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
    candidates = {**{number: one for number, one in kept.items() if number < revision}, revision: packed}
    found: dict[int, bytes] = {}
    for number in sorted(candidates, reverse=True)[:KEPT]:
        if sum(map(len, found.values())) + len(candidates[number]) > MAX_BYTES:
            break
        found[number] = candidates[number]
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
    revisions = {str(number): packed for number, packed in kept.items()}
    secret = shop_secret(key, HISTORY_SUFFIX, {**revisions, SEED_FIELD: seed}, ARGO_CD_IGNORE)
    if resource_version:
        secret["metadata"]["resourceVersion"] = resource_version
    return secret


def seed_secret(key: NamespacedName, seed: bytes) -> Object:
    """The Secret of a seed. Immutable, so that it can be lost but not be wrong."""
    return {**shop_secret(key, SEED_SUFFIX, {SEED_FIELD: seed}, ARGO_CD_IGNORE), "immutable": True}


class Revisions:
    """The history and the seeds of all Shops. Conflict means that another client has just written one: try again."""

    def __init__(self, kube: Kube, cache: Cache) -> None:
        self._kube, self._cache = kube, cache

    async def load(self, key: NamespacedName, revision: int) -> list[Object]:
        """The objects of a revision; Blocked when it is not stored, or damaged."""
        secret, name = await self._get(key), f"Secret {key.name}{HISTORY_SUFFIX}"
        packed = revisions_of(secret).get(revision) if secret else None
        if packed is None:
            raise Blocked("RevisionLost", f"{name} holds no revision {revision} to go back to")
        try:
            return decode(packed)
        except Unreadable as error:
            raise Blocked("RevisionLost", f"{name}: revision {revision} cannot be read: {error}") from error

    async def save(self, key: NamespacedName, revision: int, objects: Sequence[Object], seed: bytes) -> None:
        """Store a healthy revision; Blocked when a Secret of that name is not this Shop's.

        One that has lost its label is recognised by the seed in it.
        """
        secret = await self._get(key)
        labelled = secret is not None and secret["metadata"].get("labels", {}).get(SHOP_LABEL) == key.name
        if secret and not labelled and seed_of(secret) != seed:
            name = key.name + HISTORY_SUFFIX
            raise Blocked("NameTaken", f"Secret {name} exists already and was not made for this Shop")
        packed, before = encode(objects), revisions_of(secret or {})
        kept = with_revision(before, revision, packed)
        if revision not in kept:
            log.warning("revision %d of Shop %s is not kept: %d bytes are too many", revision, key, len(packed))
        if secret and labelled and (before, seed_of(secret)) == (kept, seed):
            return  # written by a process that ended before the response
        version = secret["metadata"]["resourceVersion"] if secret else ""
        await self._kube.apply(SECRET, secret_of(key, kept, seed, version), force=True)

    def lost(self, key: NamespacedName) -> bool:
        """Whether the Secret was deleted, as the cache has it."""
        return Ref(SECRET.api_version, SECRET.kind, key.name + HISTORY_SUFFIX) not in self._cache.children(key)

    async def seed(self, key: NamespacedName) -> bytes | None:
        """The mirrored seed; None when there is no history."""
        secret = await self._get(key)
        return seed_of(secret) if secret else None

    async def _get(self, key: NamespacedName) -> Object | None:
        return await self._kube.get(SECRET, key.namespace, key.name + HISTORY_SUFFIX)

    async def ensure_seed(self, view: ShopView) -> bytes:
        """The Shop's seed; created for a new Shop, restored when its Secret was deleted.

        Blocked when a Shop that has data has lost it for good: other passwords would lock it out of its databases.
        """
        key, name = view.key, view.key.name + SEED_SUFFIX
        child = self._cache.children(key).get(Ref(SECRET.api_version, SECRET.kind, name))
        if child is not None and child.seed is not None and not child.deleting:
            view.memory.seed = view.memory.seed or child.seed
            return view.memory.seed
        seed = view.memory.seed or await self.seed(key)
        if seed is None:
            if view.revision:
                raise Blocked("SeedLost", f"Secret {name}, from which the passwords follow, is gone: restore it")
            seed = secrets.token_bytes(SEED_BYTES)
        try:
            await self._kube.create(SECRET, seed_secret(key, seed))
        except Conflict:  # an existing one is kept, and gets its label back
            live = await self._kube.get(SECRET, key.namespace, name)
            found = seed_of(live) if live else None
            if found is None:
                raise Blocked("NameTaken", f"Secret {name} exists and holds no seed") from None
            labels = seed_secret(key, found)["metadata"]["labels"]
            await self._kube.patch(SECRET, key.namespace, name, {"metadata": {"labels": labels}})
            seed = found
        view.memory.seed = seed
        return seed

    async def protect_seed(self, key: NamespacedName) -> None:
        """Add the annotations that an earlier version of the operator did not set; no write when they are there."""
        name = key.name + SEED_SUFFIX
        live = await self._kube.get(SECRET, key.namespace, name)
        if live is not None and not ARGO_CD_IGNORE.items() <= live["metadata"].get("annotations", {}).items():
            await self._kube.patch(SECRET, key.namespace, name, {"metadata": {"annotations": ARGO_CD_IGNORE}})
