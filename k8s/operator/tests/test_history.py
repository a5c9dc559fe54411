"""What is kept of a Shop's revisions, and what is dropped."""

from __future__ import annotations

import gzip
import random
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shop.operator.engine.cache.store import seed_of
from shop.operator.engine.reconcile import history
from shop.operator.engine.reconcile.history import (
    KEPT,
    MAX_BYTES,
    Unreadable,
    decode,
    encode,
    revisions_of,
    secret_of,
    with_revision,
)
from shop.operator.kube.objects import SHOP_LABEL, NamespacedName

KEY = NamespacedName("shops", "bookshop")
OBJECTS: list[dict[str, Any]] = [
    {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "bookshop-nats"}, "data": {"password": "c2VjcmV0"}},
    {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "bookshop-order"}, "data": {"TITLE": "Bücher ✓"}},
]


def test_a_revision_is_read_as_it_was_stored() -> None:
    assert decode(encode(OBJECTS)) == OBJECTS


def test_equal_revisions_are_equal_bytes() -> None:
    assert encode(OBJECTS) == encode([dict(obj) for obj in OBJECTS])


def test_a_whole_shop_is_small() -> None:
    many = [
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": f"bookshop-{number}", "namespace": "shops", "labels": {"app": str(number)}},
            "spec": {"template": {"spec": {"containers": [{"name": "order", "image": f"example.org/shop:{number}"}]}}},
        }
        for number in range(100)
    ]
    assert len(encode(many)) * KEPT < MAX_BYTES // 10


@pytest.mark.parametrize(
    ("what", "packed"),
    [
        ("nothing", b""),
        ("no gzip", b"revision"),
        ("cut off", encode(OBJECTS)[:-20]),
        ("no JSON", gzip.compress(b"{", mtime=0)),
        ("no list", gzip.compress(b"{}", mtime=0)),
        ("damaged", encode(OBJECTS)[:12] + b"\x00\x00\x00" + encode(OBJECTS)[15:]),
    ],
)
def test_an_invalid_revision_is_refused(what: str, packed: bytes) -> None:
    with pytest.raises(Unreadable):
        decode(packed)


def test_a_revision_larger_than_any_is_not_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "MAX_UNPACKED_BYTES", 1_000)
    with pytest.raises(Unreadable, match="too large"):
        decode(gzip.compress(orjson.dumps([{"filler": "a" * 2_000}])))


def kept(*numbers: int) -> dict[int, bytes]:
    return {number: f"revision {number}".encode() for number in numbers}


@pytest.mark.parametrize(
    ("before", "revision", "after"),
    [
        ((), 1, [1]),
        ((1,), 2, [1, 2]),
        ((1, 2, 3, 4, 5), 6, [2, 3, 4, 5, 6]),
        ((1, 4, 5), 7, [1, 4, 5, 7]),
        ((1, 2), 2, [1, 2]),
        ((3, 4, 5, 6, 7), 1, [1]),
        ((1, 2, 3, 4, 5), 3, [1, 2, 3]),
    ],
)
def test_the_newest_are_kept_and_those_of_an_earlier_shop_go(
    before: tuple[int, ...], revision: int, after: list[int]
) -> None:
    found = with_revision(kept(*before), revision, b"new")
    assert list(found) == after
    assert found[revision] == b"new"


def test_the_oldest_make_room() -> None:
    third = MAX_BYTES // 3
    found = with_revision({1: b"a" * third, 2: b"b" * third}, 3, b"c" * (third + 100))
    assert list(found) == [2, 3]


def test_one_that_does_not_fit_alone_is_left_out() -> None:
    assert with_revision(kept(1, 2), 3, bytes(MAX_BYTES + 1)) == {}


@given(
    st.dictionaries(st.integers(1, 30), st.integers(0, MAX_BYTES // 2).map(bytes), max_size=8),
    st.integers(1, 30),
    st.integers(0, MAX_BYTES).map(bytes),
)
def test_the_history_is_always_small_enough_and_has_what_was_just_saved(
    before: dict[int, bytes], revision: int, packed: bytes
) -> None:
    found = with_revision(before, revision, packed)
    assert found[revision] is packed
    assert len(found) <= KEPT
    assert sum(len(one) for one in found.values()) <= MAX_BYTES
    assert with_revision(found, revision, packed) == found


def test_the_secret_holds_revisions_and_seed() -> None:
    seed = random.Random(1).randbytes(32)
    secret = secret_of(KEY, {1: b"one", 12: b"twelve"}, seed)
    assert secret["metadata"]["name"] == "bookshop-history"
    assert secret["metadata"]["labels"][SHOP_LABEL] == "bookshop"
    assert revisions_of(secret) == {1: b"one", 12: b"twelve"}
    assert seed_of(secret) == seed
    assert "resourceVersion" not in secret["metadata"]
    assert secret_of(KEY, {}, seed, "7")["metadata"]["resourceVersion"] == "7"


def test_what_another_client_wrote_into_the_secret_is_passed_over() -> None:
    assert revisions_of({"data": {"1": "b25l", "2": "no base64!", "note": "b25l", "-3": "b25l", "4.5": "b25l"}}) == {
        1: b"one"
    }
    assert revisions_of({}) == {}
    assert revisions_of({"data": None}) == {}
