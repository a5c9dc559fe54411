"""Backups in a bucket, on a real server of S3."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest

from shop.devkit.testing import wait_until
from shop.operator.backup.bucket import Bucket, BucketError, connect
from tests.integration import s3_server
from tests.integration.s3_server import BUCKET, S3Server

COMMAND_TIMEOUT_S = 60
LARGE_BYTES = 12_000_000
"""More than one part of an upload."""
OLD_S = 200_000


@pytest.fixture(scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[S3Server]:
    found = s3_server.program()
    if found is None:
        pytest.skip(f"no server of S3: rclone is not here and PyPI does not give {s3_server.PYPI_PACKAGE}")
    with s3_server.running(found, tmp_path_factory.mktemp("s3")) as running:
        await wait_until(lambda: s3_server.answers(running), what="the server of S3")
        yield running


@pytest.fixture
def place(server: S3Server, request: pytest.FixtureRequest) -> str:
    """A path of this test's own."""
    return f"s3://{BUCKET}/{request.node.originalname}"


def bucket(server: S3Server, place: str) -> Bucket:
    return Bucket(connect(server.environment), place)


def made(folder: Path, name: str, shop: str = "bookshop", size: int = 1_000) -> Path:
    """A folder that looks like a backup."""
    backup = folder / name
    backup.mkdir(parents=True)
    (backup / "order.dump").write_bytes(os.urandom(size))
    (backup / "product.dump").write_bytes(b"")
    (backup / "manifest.json").write_text(f'{{\n  "name": "{name}",\n  "shop": "{shop}",\n  "databases": []\n}}\n')
    return backup


def command(server: S3Server, verb: str, place: str, folder: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """`python -m shop.operator.backup` as the pods run it."""
    given = {"PLACE": place, "FOLDER": str(folder), "SHOP": "bookshop", **server.environment, **more}
    return subprocess.run(
        [sys.executable, "-m", "shop.operator.backup", verb],
        env={**os.environ, **given},
        capture_output=True,
        text=True,
        timeout=COMMAND_TIMEOUT_S,
        check=False,
    )


def names(server: S3Server, place: str) -> list[str]:
    return [one.name for one in bucket(server, place).backups()]


def same(one: Path, other: Path) -> bool:
    files = {path.name for path in one.iterdir()}
    return files == {path.name for path in other.iterdir()} and all(
        (one / name).read_bytes() == (other / name).read_bytes() for name in files
    )


def test_what_is_pulled_is_what_was_pushed(server: S3Server, place: str, tmp_path: Path) -> None:
    backup = made(tmp_path, "20260101T000000Z", size=LARGE_BYTES)
    bucket(server, place).push(backup)
    (tmp_path / "pulled").mkdir()
    bucket(server, place).pull(backup.name, tmp_path / "pulled")
    assert same(backup, tmp_path / "pulled" / backup.name)


def test_push_keeps_the_newest_of_this_shop(server: S3Server, place: str, tmp_path: Path) -> None:
    bucket(server, place).push(made(tmp_path / "other", "20260101T000000Z", shop="other"))
    for day in (2, 3, 4):
        folder = tmp_path / str(day)
        made(folder, f"2026010{day}T000000Z")
        said = command(server, "push", place, folder, KEEP="2", SAY_TO=str(tmp_path / "said"))
        assert said.returncode == 0, said.stderr
    assert names(server, place) == ["20260101T000000Z", "20260103T000000Z", "20260104T000000Z"]
    assert (tmp_path / "said").read_text() == f"20260104T000000Z: 1 KiB in {place}; deleted 20260102T000000Z\n"


async def test_without_its_manifest_a_backup_is_none(server: S3Server, place: str, tmp_path: Path) -> None:
    store = bucket(server, place)
    store.push(made(tmp_path, "20260101T000000Z"))
    store.push(made(tmp_path, "20260102T000000Z"))
    connect(server.environment).remove_object(BUCKET, f"{place.rpartition('/')[2]}/20260102T000000Z/manifest.json")
    assert store.newest() == "20260101T000000Z"
    with pytest.raises(BucketError, match="no complete backup 20260102T000000Z"):
        store.pull("20260102T000000Z", tmp_path)
    # It may be under way; after a day it is not.
    assert store.prune("bookshop", 7) == []
    for file in (server.files / place.rpartition("/")[2] / "20260102T000000Z").iterdir():
        os.utime(file, (time.time() - OLD_S, time.time() - OLD_S))
    pruned = partial(store.prune, "bookshop", 7)
    await wait_until(lambda: pruned() == ["20260102T000000Z"], what="the old files seen by the server, and deleted")
    assert names(server, place) == ["20260101T000000Z"]


def test_pull_takes_the_newest_or_the_named_one(server: S3Server, place: str, tmp_path: Path) -> None:
    for day in (1, 2):
        bucket(server, place).push(made(tmp_path / "made", f"2026010{day}T000000Z"))
    for asked, expected in ((place, "20260102T000000Z"), (f"{place}/20260101T000000Z", "20260101T000000Z")):
        folder = tmp_path / expected
        folder.mkdir()
        (folder / "chosen").write_text("")
        said = command(server, "pull", asked, folder)
        assert said.returncode == 0, said.stderr
        assert same(tmp_path / "made" / expected, folder / expected)


def test_pull_goes_on_with_the_backup_that_the_restore_began_with(server: S3Server, place: str, tmp_path: Path) -> None:
    for day in (1, 2):
        bucket(server, place).push(made(tmp_path / "made", f"2026010{day}T000000Z"))
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "chosen").write_text("20260101T000000Z")
    assert "already" in command(server, "pull", place, folder).stdout
    assert [path.name for path in folder.iterdir()] == ["chosen"]
    (folder / "chosen").write_text("20260101T000000Z unfinished")
    refused = command(server, "pull", f"{place}/20260102T000000Z", folder)
    assert (refused.returncode, "would mix two backups" in refused.stderr) == (1, True)
    assert command(server, "pull", place, folder).returncode == 0
    assert (folder / "20260101T000000Z").is_dir()


def test_the_newest_of_several_shops_is_not_guessed(server: S3Server, place: str, tmp_path: Path) -> None:
    bucket(server, place).push(made(tmp_path, "20260101T000000Z"))
    bucket(server, place).push(made(tmp_path, "20260102T000000Z", shop="other"))
    with pytest.raises(BucketError, match=r"several shops \(bookshop other\): name one"):
        bucket(server, place).newest()


def test_an_interrupted_push_leaves_no_backup(server: S3Server, place: str, tmp_path: Path) -> None:
    backup = made(tmp_path, "20260101T000000Z")
    shutil.move(backup / "product.dump", tmp_path / "elsewhere")
    (backup / "product.dump").symlink_to(tmp_path / "missing")
    with pytest.raises(OSError, match=r"missing|No such file"):
        bucket(server, place).push(backup)
    assert [one.whole for one in bucket(server, place).backups()] == [False]


@pytest.mark.parametrize(
    ("more", "place_", "sentence"),
    [
        ({"S3_SECRET_KEY": "wrong"}, f"s3://{BUCKET}/x", "signature"),
        ({}, "s3://no-such-bucket/x", "NoSuchBucket"),
        ({"S3_ENDPOINT": "ftp://elsewhere"}, f"s3://{BUCKET}/x", "such as https://s3.example.com"),
        ({}, "pvc://claim/x", "is no place in a bucket"),
    ],
)
def test_what_is_wrong_is_one_sentence(
    server: S3Server, tmp_path: Path, more: dict[str, str], place_: str, sentence: str
) -> None:
    made(tmp_path, "20260101T000000Z")
    refused = command(server, "push", place_, tmp_path, **more)
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)
    assert sentence in refused.stderr
