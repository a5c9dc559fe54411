"""shopctl as a person meets it: quick, helpful, and one line on stderr for what can be put right."""

import importlib.metadata
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from k8s.operator.tests.commands import shopctl
from shop.devkit.processes import free_port
from shop.operator import program
from shop.operator.services import OPTIONAL, WITH_DATABASE

HEAD = "apiVersion: shops.shopkeeper.dev/v1alpha1\nkind: Shop\nmetadata: {name: demo}\n"
COMMAND_TIMEOUT_S = 120


def shopctl_process(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """As a person starts it: where that matters, and where it starts the stores, which must not outlive it."""
    return subprocess.run(
        [sys.executable, "-m", "shop.operator.cli", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=COMMAND_TIMEOUT_S,
        check=False,
    )


@pytest.fixture
def shop_file(tmp_path: Path) -> Path:
    path = tmp_path / "demo.yaml"
    path.write_text(HEAD)
    return path


def fails(done: subprocess.CompletedProcess[str], message: str) -> None:
    assert done.returncode == 1, done.stdout
    assert message in done.stderr
    assert all(line.startswith("shopctl: ") for line in done.stderr.splitlines()), done.stderr


@pytest.mark.parametrize(
    "command", ["up", "status", "logs", "down", "stop", "start", "restart", "log-level", "open", "audit"]
)
def test_every_command_has_a_help_text(command: str) -> None:
    done = shopctl(command, "--help")
    assert done.returncode == 0
    assert "--data-dir" in done.stdout


def loaded(module: str, *wanted: str) -> str:
    """Those of the wanted modules that importing `module` loads."""
    code = f"import sys, {module}; print(*(name for name in {wanted} if name in sys.modules))"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_the_command_line_loads_nothing_heavy() -> None:
    assert not loaded("shop.operator.cli.shopctl", "kopf", "asyncpg", "nats", "fastapi", "psutil", "pydantic")


def test_the_supervisor_loads_nothing_that_only_services_use() -> None:
    """It runs as long as the shop, and the start waits for it."""
    services_only = ("asyncpg", "nats", "fastapi", "starlette", "opentelemetry", "prometheus_client")
    assert not loaded("shop.operator.local.shop_process", *services_only)


def test_the_version_is_printed() -> None:
    done = shopctl_process("--version")
    assert (done.returncode, done.stdout) == (0, f"shopctl {importlib.metadata.version('shop-operator')}\n")


def test_an_invalid_shop_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(HEAD + "spec: {store: {currency: EURO}}\n")
    fails(
        shopctl_process("up", path, "--data-dir", tmp_path / "data"),
        f"{path}:4: spec.store.currency: must be an ISO 4217",
    )
    assert not (tmp_path / "data").exists()


def test_a_missing_shop_file_is_named(tmp_path: Path) -> None:
    fails(shopctl("up", tmp_path / "none.yaml"), "none.yaml: No such file or directory")


@pytest.mark.parametrize(
    ("replicas", "message"),
    [
        ("order", "write SERVICE=N"),
        ("order=two", "write SERVICE=N"),
        ("ordr=2", "no service ordr"),
        ("gateway=2", "runs once"),
    ],
)
def test_wrong_replicas_are_refused_with_the_reason(
    shop_file: Path, tmp_path: Path, replicas: str, message: str
) -> None:
    fails(shopctl("up", shop_file, "--data-dir", tmp_path / "data", "--replicas", replicas), message)


@pytest.mark.parametrize("detach", [[], ["--detach"]])
def test_a_port_in_use_is_named_with_the_option_that_changes_it(
    shop_file: Path, tmp_path: Path, detach: list[str]
) -> None:
    with socket.create_server(("127.0.0.1", free_port())) as listener:
        port = listener.getsockname()[1]
        done = shopctl("up", shop_file, "--data-dir", tmp_path / "data", "--port", port, *detach)
    fails(done, f"port {port} is in use; choose another one with --port")


def test_a_folder_with_other_files_is_refused(shop_file: Path, tmp_path: Path) -> None:
    fails(shopctl("up", shop_file, "--data-dir", tmp_path), "holds other files and no shop")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_is_named(shop_file: Path) -> None:
    fails(shopctl("up", shop_file, "--data-dir", "/proc/shop"), "cannot use /proc/shop")


def test_damaged_postgres_data_is_named_with_advice(shop_file: Path, tmp_path: Path) -> None:
    pgdata = tmp_path / "data" / "postgres" / "pgdata"
    pgdata.mkdir(parents=True)
    (tmp_path / "data" / "lock").touch()
    done = shopctl_process("up", shop_file, "--data-dir", tmp_path / "data", "--port", str(free_port()))
    fails(done, f"{pgdata} is not a PostgreSQL data folder")
    assert "put a backup of that folder back" in done.stderr


def test_apply_to_a_shop_that_does_not_run_names_the_command_that_starts_it(shop_file: Path, tmp_path: Path) -> None:
    done = shopctl("apply", shop_file, "--data-dir", tmp_path / "none")
    fails(done, f"shopctl up {shop_file} --data-dir {tmp_path / 'none'}")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    "command",
    [
        ["status"],
        ["stop", "order"],
        ["start", "order"],
        ["restart", "order"],
        ["open"],
        ["audit"],
        ["logs"],
        ["log-level", "order", "debug"],
    ],
)
def test_commands_for_a_running_shop_say_that_none_runs(tmp_path: Path, command: list[str]) -> None:
    done = shopctl(*command, "--data-dir", tmp_path / "none")
    fails(done, "shopctl up")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["order", "loud"], "unknown level loud; one of debug, info, warning, error"),
        (["order"], "log-level SERVICE LEVEL is for the shop on this machine, "),
        (
            ["bookshop", "order", "debug", "--data-dir", "x"],
            "bookshop names a Shop in a cluster, and --data-dir is for",
        ),
        (["order", "debug", "--namespace", "books"], "which Shop? For one in a cluster: `"),
    ],
)
def test_a_log_level_that_cannot_be_set_is_one_line(arguments: list[str], message: str) -> None:
    done = shopctl("log-level", *arguments)
    fails(done, message)
    assert done.stderr.count("\n") == 1


def test_down_without_a_shop_is_no_error(tmp_path: Path) -> None:
    done = shopctl("down", "--data-dir", tmp_path / "none")
    assert done.returncode == 0
    assert "No shop ran" in done.stdout


@pytest.mark.parametrize(
    "options",
    [
        ["--nats-url", "nats://127.0.0.1:1"],
        ["--cache-url", "redis://127.0.0.1:1"],
        ["--database-url", "postgresql://127.0.0.1:1/shop_{noun}"],
        ["--database-url", "postgresql://127.0.0.1:1/shop_order", "--nats-url", "nats://127.0.0.1:1"],
    ],
)
def test_an_audit_elsewhere_needs_both_addresses(options: list[str]) -> None:
    fails(shopctl("audit", *options), "both --nats-url and --database-url with {noun} in it")


def test_only_a_service_that_can_be_off_is_left_out_of_an_audit() -> None:
    addresses = {"SHOP_AUDIT_DATABASE_URL": "postgresql://127.0.0.1:1/shop_{noun}", "SHOP_AUDIT_NATS_URL": "nats://x"}
    fails(
        shopctl("audit", "--without", "order", environment=addresses),
        f"--without order: only {', '.join(OPTIONAL)} can be left out",
    )
    fails(shopctl("audit", "--without", "recommendation"), "needs both --nats-url and --database-url")


def test_an_audit_elsewhere_names_the_database_that_it_cannot_read() -> None:
    port = free_port()
    addresses = {
        "SHOP_AUDIT_DATABASE_URL": f"postgresql://nobody:secret@127.0.0.1:{port}/shop_{{noun}}",
        "SHOP_AUDIT_NATS_URL": f"nats://127.0.0.1:{port}",
    }
    fails(shopctl("audit", environment=addresses), f"the database of {WITH_DATABASE[0]} cannot be read")


def test_deleting_without_a_terminal_needs_yes(tmp_path: Path) -> None:
    (tmp_path / "shop.json").write_text('{"format": 1, "name": "demo", "currency": "EUR"}')
    (tmp_path / "lock").touch()
    refused = shopctl("down", "--delete-data", "--data-dir", tmp_path)
    assert refused.returncode == 2
    assert f"`{program.shopctl()} down --delete-data --yes --data-dir {tmp_path}`" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
    assert (tmp_path / "shop.json").exists()
    assert shopctl("down", "--delete-data", "--yes", "--data-dir", tmp_path).returncode == 0
    assert not tmp_path.exists()


def test_a_missing_pg_version_is_the_cause_and_not_an_old_log(shop_file: Path, tmp_path: Path) -> None:
    postgres = tmp_path / "data" / "postgres"
    (postgres / "pgdata").mkdir(parents=True)
    (postgres / "server.log").write_text("FATAL: of last week\n")
    (tmp_path / "data" / "lock").touch()
    done = shopctl_process("up", shop_file, "--data-dir", tmp_path / "data", "--port", str(free_port()))
    fails(done, f"{postgres / 'pgdata'} is not a PostgreSQL data folder: it has no PG_VERSION")
    assert "last week" not in done.stderr
    assert f"`{program.shopctl()} down --delete-data --data-dir {tmp_path / 'data'}`" in done.stderr


@pytest.mark.parametrize("taken", ["logs", "postgres", "nats"])
def test_a_file_in_the_place_of_a_folder_is_named(shop_file: Path, tmp_path: Path, taken: str) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "lock").touch()
    (tmp_path / "data" / taken).write_text("")
    done = shopctl_process("up", shop_file, "--data-dir", tmp_path / "data", "--port", str(free_port()))
    fails(done, f"{tmp_path / 'data' / taken} is not a folder, and one is needed there")
    assert "Errno" not in done.stderr


def test_the_stored_shop_is_used_when_none_is_named(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "shop.yaml").write_text(HEAD + "spec: {store: {currency: EURO}}\n")
    done = shopctl("up", "--data-dir", data)
    assert done.returncode == 1
    assert f"using the stored one, {data / 'shop.yaml'}" in done.stderr
    assert f"{data / 'shop.yaml'}:4: spec.store.currency" in done.stderr


def test_an_unknown_log_is_answered_with_those_of_the_shop(tmp_path: Path) -> None:
    logs = tmp_path / ".shop" / "logs"
    logs.mkdir(parents=True)
    (tmp_path / ".shop" / "shop.json").write_text("{}")
    (logs / "order-1.log").write_text("")
    environment = {"HOME": str(tmp_path), "KUBECONFIG": ""}
    fails(
        shopctl("logs", "nosuch", cwd=tmp_path, environment=environment), "no logs of nosuch; there are logs of order-1"
    )
