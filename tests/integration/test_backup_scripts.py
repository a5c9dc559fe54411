"""The backup scripts against a real server: one moment for all databases, whole or not at all, never over anything."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from shop.devkit import embedded
from shop.operator.backup import scripts
from shop.operator.errors import ShopctlError

NOUNS = ("order", "product", "payment")
WRITERS = 4
MIN_TRIPS = 200
WAIT_S = 30.0
UNGATED_TRIES = 10
FREE = "    SELECT 'writers waited"
LOST_ONCE = r"""
    \! echo "$NOUN" >>"$NOTES/gates"
    \set first `mkdir "$NOTES/first" 2>/dev/null && echo true || echo false`
    \if :first
        SELECT pg_terminate_backend(pg_backend_pid());
    \endif
"""
WAIT = '\\set go `sh "$HERE/await.sh" waiting look`\n'
UNGATED = '\\! cd "$ROUND" && touch "ready.$NOUN" "locked.$NOUN" "freed.$NOUN"\n'
POLL_S = 0.01
GIVEN = {"SHOP": "bookshop", "SHOP_VERSION": "1.2.3"}
Urls = dict[str, str]


@pytest.fixture
def make(postgres: embedded.Server) -> Iterator[Callable[[], Urls]]:
    """Makes a set of empty databases, each with a role of its own that owns it."""
    made: list[str] = []
    host = urlsplit(postgres.url).netloc.rpartition("@")[2]

    def databases() -> Urls:
        urls = {}
        with psycopg.connect(postgres.url, autocommit=True) as connection:
            for noun in NOUNS:
                name = f"backup_{noun}_{uuid.uuid4().hex[:8]}"
                connection.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'with:colon'".encode())
                connection.execute(f"CREATE DATABASE {name} OWNER {name}".encode())
                made.append(name)
                urls[noun] = f"postgresql://{name}:with%3Acolon@{host}/{name}"
        return urls

    yield databases
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        for name in made:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())
            connection.execute(f"DROP ROLE {name}".encode())


def tables(urls: Urls) -> None:
    """Two tables that writers take in the other order than that of their making, and the kit's for events."""
    for url in urls.values():
        with psycopg.connect(url) as connection:
            connection.execute("CREATE TABLE second (trip int PRIMARY KEY); CREATE TABLE first (trip int PRIMARY KEY)")
            connection.execute("CREATE TABLE outbox (id int, published_at timestamptz, stream_sequence bigint)")
            connection.execute("CREATE TABLE inbox (event_id int, received_at timestamptz)")
            connection.execute("INSERT INTO outbox VALUES (1, now(), 41), (2, NULL, NULL)")
            connection.execute("INSERT INTO inbox VALUES (1, now() - interval '1 year')")


class Travellers:
    """Writers that commit a trip in one database after another: nothing is in a later one without the earlier ones."""

    def __init__(self, urls: Urls) -> None:
        self._urls = urls
        self._ended = threading.Event()
        self.trips = [0] * WRITERS
        self._threads = [threading.Thread(target=self._travel, args=[number]) for number in range(WRITERS)]

    def _travel(self, number: int) -> None:
        with contextlib.ExitStack() as stack:
            connections = [stack.enter_context(psycopg.connect(url)) for url in self._urls.values()]
            while not self._ended.is_set():
                trip = self.trips[number] * WRITERS + number
                for connection in connections:
                    connection.execute("INSERT INTO first VALUES (%s)", (trip,))
                    connection.execute("INSERT INTO second VALUES (%s)", (trip,))
                    connection.commit()
                self.trips[number] += 1

    def wait_for_trips(self) -> None:
        until(lambda: sum(self.trips) >= MIN_TRIPS)

    def __enter__(self) -> Travellers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join(WAIT_S)
            assert not thread.is_alive()


def until(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not reached():
        assert time.monotonic() < deadline
        threading.Event().wait(POLL_S)


def backup(urls: Urls, target: Path, **more: str) -> str:
    return scripts.run("backup.sh", urls, {**GIVEN, "TARGET": str(target), **more})


def chosen(urls: Urls, tmp_path: Path) -> str:
    """What `restore.sh choose` prints for the container that copies a backup from a bucket."""
    file = tmp_path / "chosen"
    scripts.run("restore.sh", urls, {"CHOSEN": str(file)}, None, "choose")
    return file.read_text()


def changed(tmp_path: Path, name: str, content: str) -> Path:
    """A copy of the scripts in which the file `name` is another."""
    files = Path(shutil.copytree(scripts.folder(), tmp_path / "scripts"))
    (files / name).write_text(content)
    return files


def seen(urls: Urls) -> list[set[int]]:
    """The trips in each database, in the order in which they are written."""
    found = []
    for url in urls.values():
        with psycopg.connect(url) as connection:
            rows = {
                name: {row[0] for row in connection.execute(f"SELECT trip FROM {name}".encode())}
                for name in ("first", "second")
            }
            assert rows["first"] == rows["second"]
            found.append(rows["first"])
    return found


def under_load(urls: Urls, target: Path, files: Path | None = None) -> str:
    """A backup while travellers write, with at least MIN_TRIPS trips before it."""
    with Travellers(urls) as travellers:
        travellers.wait_for_trips()
        return scripts.run("backup.sh", urls, {**GIVEN, "TARGET": str(target)}, files)


def causal(urls: Urls) -> bool:
    """Whether no trip is seen in a database without being seen in those before it."""
    first, second, third = seen(urls)
    assert len(first) >= MIN_TRIPS
    return third <= second <= first


def test_a_backup_has_no_effect_without_its_cause(make: Callable[[], Urls], tmp_path: Path) -> None:
    old, new = make(), make()
    tables(old)
    said = under_load(old, tmp_path)
    assert all(f"{noun}: writers waited up to" in said for noun in NOUNS)
    scripts.restore(new, tmp_path)
    assert causal(new)


def test_without_the_locks_effects_come_without_their_cause(make: Callable[[], Urls], tmp_path: Path) -> None:
    """The test above can fail: without the locks it is soon found out."""
    files = changed(tmp_path, "gate.sql", UNGATED)
    snapshot = files / "snapshot.sql"
    assert WAIT in snapshot.read_text()
    snapshot.write_text(snapshot.read_text().replace(WAIT, '\\! touch "$ROUND/waiting.$NOUN"\n\\set go true\n'))
    for number in range(UNGATED_TRIES):
        old, new = make(), make()
        tables(old)
        under_load(old, tmp_path / str(number), files)
        scripts.restore(new, tmp_path / str(number))
        if not causal(new):
            return
    raise AssertionError(f"{UNGATED_TRIES} backups without locks were all of one moment")


def test_a_lost_lock_invalidates_the_attempt(make: Callable[[], Urls], tmp_path: Path) -> None:
    """The server ends one of the sessions that keep writers out: the next round takes other snapshots."""
    old, new = make(), make()
    tables(old)
    gate = scripts.folder().joinpath("gate.sql").read_text()
    assert FREE in gate
    files = changed(tmp_path, "gate.sql", gate.replace(FREE, LOST_ONCE + FREE))
    scripts.run("backup.sh", old, {**GIVEN, "TARGET": str(tmp_path / "kept"), "NOTES": str(tmp_path)}, files)
    assert len((tmp_path / "gates").read_text().split()) == 2 * len(NOUNS)
    scripts.restore(new, tmp_path / "kept")


def test_a_backup_waits_for_a_long_writer(make: Callable[[], Urls], tmp_path: Path, postgres: embedded.Server) -> None:
    old, new = make(), make()
    tables(old)
    with ThreadPoolExecutor(1) as pool, psycopg.connect(old["product"]) as writer:
        writer.execute("INSERT INTO first VALUES (1)")
        taken = pool.submit(backup, old, tmp_path)
        with psycopg.connect(postgres.url, autocommit=True) as watcher:
            waiting = (
                "SELECT FROM pg_stat_activity WHERE application_name = 'shop backup gate' AND wait_event_type = 'Lock'"
            )
            until(lambda: watcher.execute(waiting.encode()).fetchone() is not None)
        writer.execute("INSERT INTO second VALUES (1)")
        writer.commit()
        taken.result(WAIT_S)
    scripts.restore(new, tmp_path)
    assert seen(new) == [set(), {1}, set()]


def test_the_manifest_names_what_was_saved(make: Callable[[], Urls], tmp_path: Path) -> None:
    old = make()
    tables(old)
    backup(old, tmp_path)
    (folder,) = tmp_path.iterdir()
    manifest = json.loads((folder / "manifest.json").read_text())
    assert (manifest["name"], manifest["shop"], manifest["version"]) == (folder.name, "bookshop", "1.2.3")
    assert {one["name"] for one in manifest["databases"]} == set(NOUNS)
    for one in manifest["databases"]:
        content = (folder / one["file"]).read_bytes()
        assert (one["bytes"], one["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())


def test_events_are_published_again_and_recognised(make: Callable[[], Urls], tmp_path: Path) -> None:
    old, new = make(), make()
    tables(old)
    backup(old, tmp_path)
    scripts.restore(new, tmp_path)
    with psycopg.connect(new["order"]) as connection:
        assert connection.execute("SELECT * FROM outbox ORDER BY id").fetchall() == [(1, None, None), (2, None, None)]
        assert connection.execute(
            "SELECT count(*) FROM inbox WHERE received_at > now() - interval '1 hour'"
        ).fetchone() == (1,)


def test_old_and_incomplete_backups_are_deleted(make: Callable[[], Urls], tmp_path: Path) -> None:
    old = make()
    tables(old)
    for number in range(4):
        foreign = tmp_path / f"2026010{number + 1}T000000Z"
        foreign.mkdir()
        shop = "other" if number == 0 else "bookshop"
        (foreign / "manifest.json").write_text(f'{{\n  "shop": "{shop}",\n}}\n')
    for leftover, age_s in ((".partial-20260101T000000Z", 200_000), (".partial-20260102T000000Z", 60)):
        (tmp_path / leftover).mkdir()
        os.utime(tmp_path / leftover, (time.time() - age_s, time.time() - age_s))
    said = backup(old, tmp_path, KEEP="2")
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left[:3] == [".partial-20260102T000000Z", "20260101T000000Z", "20260104T000000Z"]
    assert len(left) == 4
    assert said.endswith("deleted 20260102T000000Z\ndeleted 20260103T000000Z")


def test_a_failed_backup_leaves_nothing(make: Callable[[], Urls], tmp_path: Path) -> None:
    old = make()
    tables(old)
    failing = '\npg_dump() { [ "$1" = --version ] && command pg_dump "$@"; }\n'
    files = changed(tmp_path, "common.sh", scripts.folder().joinpath("common.sh").read_text() + failing)
    with pytest.raises(ShopctlError):
        scripts.run("backup.sh", old, {**GIVEN, "TARGET": str(tmp_path / "kept")}, files)
    assert list((tmp_path / "kept").iterdir()) == []


def test_a_restore_runs_once(make: Callable[[], Urls], tmp_path: Path) -> None:
    old, new = make(), make()
    tables(old)
    backup(old, tmp_path / "kept")
    scripts.restore(new, tmp_path / "kept")
    with psycopg.connect(new["order"]) as connection:
        connection.execute("INSERT INTO first VALUES (7); INSERT INTO second VALUES (7)")
    backup(old, tmp_path / "kept")
    (tmp_path / "none").mkdir()
    for source in ("kept", "none"):
        assert "already" in scripts.restore(new, tmp_path / source)
    assert seen(new)[0] == {7}


def test_a_database_with_data_is_not_changed(make: Callable[[], Urls], tmp_path: Path) -> None:
    old, new = make(), make()
    tables(old)
    backup(old, tmp_path)
    with psycopg.connect(new["product"]) as connection:
        connection.execute("CREATE TABLE mine (id int)")
    with pytest.raises(ShopctlError, match=r"product: .* is not empty \(it holds mine\)"):
        scripts.restore(new, tmp_path)
    with psycopg.connect(new["product"]) as connection:
        assert connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone() == (1,)


def test_an_interrupted_restore_starts_again_with_the_same_backup(make: Callable[[], Urls], tmp_path: Path) -> None:
    old, new = make(), make()
    tables(old)
    kept = tmp_path / "kept"
    with psycopg.connect(old["product"]) as connection:
        connection.execute("INSERT INTO first VALUES (1); INSERT INTO second VALUES (1)")
    backup(old, kept)
    assert chosen(new, tmp_path) == ""
    end = scripts.folder().joinpath("restore-end.sql").read_text()
    killed = f"SELECT current_database() LIKE '%product%' AS now \\gset\n\\if :now\n\\! kill -9 $PPID\n\\endif\n{end}"
    with pytest.raises(ShopctlError, match="product"):
        scripts.run("restore.sh", new, {"SOURCE": str(kept)}, changed(tmp_path, "restore-end.sql", killed))
    with psycopg.connect(new["product"]) as connection:
        assert connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone() == (0,)
    with psycopg.connect(old["product"]) as connection:
        connection.execute("INSERT INTO first VALUES (2); INSERT INTO second VALUES (2)")
    backup(old, kept)
    oldest, newest = sorted(path for path in kept.iterdir())
    assert chosen(new, tmp_path) == f"{oldest.name} unfinished"
    with pytest.raises(ShopctlError, match="would mix two backups"):
        scripts.restore(new, newest)
    assert "product: restored" in scripts.restore(new, kept)
    assert seen(new) == [set(), {1}, set()]
    assert oldest.name in scripts.restore(new, kept)
    assert chosen(new, tmp_path) == oldest.name


def test_a_damaged_backup_is_refused(make: Callable[[], Urls], tmp_path: Path) -> None:
    old, new = make(), make()
    tables(old)
    backup(old, tmp_path)
    (dump,) = tmp_path.glob("*/payment.dump")
    content = bytearray(dump.read_bytes())
    content[len(content) // 2] ^= 1
    dump.write_bytes(content)
    with pytest.raises(ShopctlError, match=r"damaged: [^$]*payment.dump: FAILED"):
        scripts.restore(new, tmp_path)
    with psycopg.connect(new["order"]) as connection:
        assert connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone() == (0,)


def test_the_newest_of_several_shops_is_not_guessed(make: Callable[[], Urls], tmp_path: Path) -> None:
    old, new = make(), make()
    tables(old)
    backup(old, tmp_path)
    backup(old, tmp_path, SHOP="other")
    with pytest.raises(ShopctlError, match=r"backups of several shops \(bookshop other\)"):
        scripts.restore(new, tmp_path)
    with pytest.raises(ShopctlError, match="holds no complete backup"):
        scripts.restore(new, tmp_path.parent)


def test_a_service_that_the_backup_does_not_know_begins_empty(make: Callable[[], Urls], tmp_path: Path) -> None:
    old, new = make(), make()
    tables(old)
    backup({noun: old[noun] for noun in ("order", "product")}, tmp_path)
    assert "payment: not in" in scripts.restore(new, tmp_path)
    assert "already" in scripts.restore(new, tmp_path)


def test_a_server_later_than_pg_dump_is_named_before_anything_is_dumped(
    make: Callable[[], Urls], tmp_path: Path
) -> None:
    old, kept = make(), tmp_path / "kept"
    tables(old)
    common = scripts.folder().joinpath("common.sh").read_text()
    older = f"{common}\npg_dump() {{ echo 'pg_dump (PostgreSQL) {embedded.POSTGRES_MAJOR - 1}.4'; }}\n"
    with pytest.raises(ShopctlError) as refused:
        scripts.run("backup.sh", old, {**GIVEN, "TARGET": str(kept)}, changed(tmp_path, "common.sh", older))
    server, program = embedded.POSTGRES_MAJOR, embedded.POSTGRES_MAJOR - 1
    assert str(refused.value).startswith(f"order: the server is PostgreSQL {server} and pg_dump here is {program}: ")
    assert not kept.exists()


def test_a_backup_of_a_later_server_is_refused_before_anything_is_restored(
    make: Callable[[], Urls], tmp_path: Path
) -> None:
    old, new = make(), make()
    tables(old)
    backup(old, tmp_path)
    (manifest,) = tmp_path.glob("*/manifest.json")
    content = manifest.read_text()
    later = content.replace(f'"postgres": "{embedded.POSTGRES_MAJOR}', f'"postgres": "{embedded.POSTGRES_MAJOR + 1}')
    assert later != content
    manifest.write_text(later)
    with pytest.raises(ShopctlError, match=f"is of PostgreSQL {embedded.POSTGRES_MAJOR + 1} and the server is"):
        scripts.restore(new, tmp_path)
    with psycopg.connect(new["order"]) as connection:
        assert connection.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'").fetchone() == (0,)
