"""The stored form of a model: exact, without pickle, and with a checksum.

MAGIC, the SHA-256 of all that follows, the length of the header, the header (JSON with the scalar values and the length
of each array), padding to 8 bytes, then the arrays in the order of ARRAYS, little-endian, each padded to 8 bytes.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAGIC = b"shopmdl1"
"""Ends with the version of the format: a reader refuses every other one."""
ALIGNMENT_BYTES = 8
DIGEST_BYTES = 32
_HEADER_LENGTH = struct.Struct("<Q")
ARRAYS: Mapping[str, str] = {
    "ids": "<u8",
    "history_weights": "<f8",
    "popularity": "<f4",
    "customer_starts": "<i8",
    "customer_products": "<i4",
    "customer_scores": "<f4",
    "order_starts": "<i8",
    "order_products": "<i4",
    "order_scores": "<f4",
    "pairs": "<i4",
}

Scalars = dict[str, Any]
Arrays = dict[str, NDArray[Any]]


def pack(scalars: Scalars, arrays: Arrays) -> bytes:
    """The same values always give the same bytes."""
    lengths = {name: int(arrays[name].size) for name in ARRAYS}
    header = json.dumps({"scalars": scalars, "lengths": lengths}, sort_keys=True, allow_nan=False).encode()
    parts = [_HEADER_LENGTH.pack(len(header)), _padded(header)]
    parts += [_padded(np.ascontiguousarray(arrays[name], dtype=kind).tobytes()) for name, kind in ARRAYS.items()]
    body = b"".join(parts)
    return MAGIC + hashlib.sha256(body).digest() + body


def unpack(data: bytes) -> tuple[Scalars, Arrays]:
    """Scalars and read-only arrays on `data` itself; ValueError for data of another format or damaged data."""
    start = len(MAGIC) + DIGEST_BYTES
    if data[: len(MAGIC)] != MAGIC:
        raise ValueError("not a recommendation model of this format")
    body = memoryview(data)[start:]
    if hashlib.sha256(body).digest() != data[len(MAGIC) : start]:
        raise ValueError("the recommendation model is damaged: its checksum is wrong")
    (length,) = _HEADER_LENGTH.unpack_from(body)
    offset = _HEADER_LENGTH.size
    header = json.loads(bytes(body[offset : offset + length]))
    offset = _aligned(offset + length)
    arrays: Arrays = {}
    for name, kind in ARRAYS.items():
        arrays[name] = np.frombuffer(body, dtype=kind, count=header["lengths"][name], offset=offset)
        offset = _aligned(offset + arrays[name].nbytes)
    return header["scalars"], arrays


def _padded(part: bytes) -> bytes:
    return part + bytes(-len(part) % ALIGNMENT_BYTES)


def _aligned(offset: int) -> int:
    return offset + -offset % ALIGNMENT_BYTES
