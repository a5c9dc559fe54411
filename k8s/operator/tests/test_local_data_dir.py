"""The data folder: its lock, what it stores, and errors when it cannot be used."""

import json
import socket
import stat
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from shop.devkit import processes
from shop.devkit.embedded import ValkeyStore
from shop.operator.errors import ShopctlError
from shop.operator.local import log_files
from shop.operator.local.data_dir import DataDir
from shop.operator.program import shopctl


@pytest.fixture
def data(tmp_path: Path) -> DataDir:
    return DataDir(tmp_path / "shop")


def test_the_first_claim_is_the_first_start_and_secrets_stay(data: DataDir) -> None:
    assert data.claim("bookshop", "EUR")
    kept = (data.admin_password(), data.internal_token(), data.database_password("shop_order"))
    data.release()
    assert not data.claim("bookshop", "EUR")
    assert kept == (data.admin_password(), data.internal_token(), data.database_password("shop_order"))
    assert len(set(kept)) == 3
    data.release()


def test_only_the_owner_can_read_the_secrets(data: DataDir) -> None:
    data.claim("bookshop", "EUR")
    data.admin_password()
    data.internal_token()
    data.write_state({"control": {"token": "x"}})
    for name in ("admin-password", "passwords.json", "state.json"):
        assert stat.S_IMODE((data.path / name).stat().st_mode) == 0o600, name
    data.release()


def test_a_second_shop_in_the_same_folder_is_refused(data: DataDir) -> None:
    data.claim("bookshop", "EUR")
    assert data.is_locked()
    with pytest.raises(ShopctlError, match=r"a shop already runs in .*shopctl down"):
        DataDir(data.path).claim("bookshop", "EUR")
    data.release()
    assert not data.is_locked()


@pytest.mark.parametrize(
    ("name", "currency", "message"),
    [
        ("other", "EUR", "holds the shop bookshop, not other"),
        ("bookshop", "USD", "spec.store.currency: .* sells in EUR"),
    ],
)
def test_the_data_of_another_shop_is_refused(data: DataDir, name: str, currency: str, message: str) -> None:
    data.claim("bookshop", "EUR")
    data.release()
    with pytest.raises(ShopctlError, match=message):
        DataDir(data.path).claim(name, currency)


def test_a_folder_with_other_files_is_neither_used_nor_deleted(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(ShopctlError, match="holds other files and no shop"):
        DataDir(tmp_path).claim("bookshop", "EUR")
    with pytest.raises(ShopctlError, match="holds other files and no shop"):
        DataDir(tmp_path).delete()
    assert (tmp_path / "thesis.txt").exists()


def test_a_file_in_the_place_of_the_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "shop").write_text("")
    with pytest.raises(ShopctlError, match="shop is not a folder; choose one with --data-dir"):
        DataDir(tmp_path / "shop").claim("bookshop", "EUR")


@pytest.mark.parametrize("content", ["{", "[]", '"x"'])
def test_a_corrupt_file_is_named_with_advice(data: DataDir, content: str) -> None:
    data.claim("bookshop", "EUR")
    (data.path / "passwords.json").write_text(content)
    with pytest.raises(ShopctlError, match=r"passwords.json .*: restore it from a backup, or .* --delete-data"):
        data.internal_token()
    data.release()


def test_a_newer_format_is_refused(data: DataDir) -> None:
    data.claim("bookshop", "EUR")
    data.release()
    (data.path / "shop.json").write_text(json.dumps({"format": 99, "name": "bookshop", "currency": "EUR"}))
    with pytest.raises(ShopctlError, match="has format 99, this shopctl reads 1"):
        data.claim("bookshop", "EUR")


def test_a_missing_state_file_is_ignored(data: DataDir) -> None:
    data.claim("bookshop", "EUR")
    data.state_file.write_text("{ cut off")
    assert data.read_state() == {}
    data.release()


def test_ports_are_remembered_unless_another_process_uses_them(data: DataDir) -> None:
    data.claim("bookshop", "EUR")
    port = data.port("order-1")
    assert data.port("order-1") == port
    with socket.create_server(("127.0.0.1", port)):
        assert data.port("order-1") != port
    data.release()


def test_two_components_never_get_one_port(data: DataDir, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody listens on a chosen port yet, and chance may name it twice: to a component and to a store's monitoring."""
    monkeypatch.setattr("random.sample", lambda ports, count: ports[:count])
    data.claim("bookshop", "EUR")
    store = ValkeyStore(data.store("valkey"))
    store.reserve_port()
    ports = [store.port, data.port("order-1"), data.port("order-2"), processes.free_port()]
    assert len(set(ports)) == 4
    assert [data.port("order-1"), data.port("order-2")] == ports[1:3]
    data.release()


def test_a_remembered_port_is_not_given_to_another_component(data: DataDir, monkeypatch: pytest.MonkeyPatch) -> None:
    data.claim("bookshop", "EUR")
    remembered = processes.free_port()
    (data.path / "ports.json").write_text(json.dumps({"payment-1": remembered, "user-1": remembered}))
    monkeypatch.setattr(processes, "_owners", {})  # as in the process that starts the shop again
    monkeypatch.setattr("random.sample", lambda ports, count: [remembered, *ports[: count - 1]])
    new = data.port("order-1")
    ports = [new, data.port("user-1"), data.port("payment-1")]
    assert len(set(ports)) == 3
    data.release()


def test_delete_removes_a_shop_and_nothing_when_there_is_none(data: DataDir) -> None:
    data.delete()
    data.claim("bookshop", "EUR")
    data.release()
    data.delete()
    assert not data.path.exists()


def test_a_log_is_rotated_at_its_maximum_size_while_it_is_written(tmp_path: Path) -> None:
    log = tmp_path / "order-1.log"
    with log.open("ab", buffering=0) as writer:
        writer.write(b"x" * 100)
        assert not log_files.rotate(log, max_bytes=100)
        writer.write(b"y")
        assert log_files.rotate(log, max_bytes=100)
        writer.write(b"after")
    assert log.read_bytes() == b"after"
    assert len((tmp_path / "order-1.log.1").read_bytes()) == 101


@pytest.mark.parametrize(
    ("count", "expected"), [(0, []), (2, ["line 8", "line 9"]), (99, [f"line {n}" for n in range(10)])]
)
def test_the_last_lines_of_a_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int, expected: list[str]
) -> None:
    monkeypatch.setattr(log_files, "BLOCK_BYTES", 7)
    log = tmp_path / "a.log"
    log.write_text("".join(f"line {n}\n" for n in range(10)))
    assert log_files.last_lines(log, count) == expected


def test_following_a_log_survives_its_rotation(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    log.write_text("old\n")

    def add(text: str) -> None:
        with log.open("a") as writer:
            writer.write(text)

    steps: Iterator[Callable[[], object]] = iter(
        [lambda: add("one\nha"), lambda: add("lf\n"), lambda: log_files.rotate(log, 5), lambda: add("fresh\n")]
    )

    def pause(_: float) -> None:
        next(steps)()

    lines = log_files.follow([log], pause)
    assert [next(lines)[1] for _ in range(3)] == ["one", "half", "fresh"]


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("plain", "/{}/plain"),
        ("two words", "'/{}/two words'"),
        ("it's", "'/{}/it'\"'\"'s'"),
        ("zwei\nZeilen", "$'/{}/zwei\\x0aZeilen'"),
    ],
)
def test_a_command_that_is_advised_is_complete_and_one_line(name: str, word: str) -> None:
    advised = DataDir(Path("/a") / name).command("down")
    assert advised == f"`{shopctl()} down --data-dir {word.format('a')}`"
    done = subprocess.run(
        ["bash", "-c", f"printf %s {advised.strip('`').partition('--data-dir ')[2]}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"/a/{name}"


def test_the_default_folder_needs_no_option() -> None:
    assert DataDir(Path(".shop")).command("up") == f"`{shopctl()} up`"
