"""Which commands are about a cluster, and with what they reach it: names and options, without a cluster."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from shop.operator.cli.kubectl_shop import app as kubectl_shop_app
from shop.operator.cli.shopctl import app as shopctl_app
from shop.operator.cluster import actions
from shop.operator.cluster.backup_job import job_of
from shop.operator.cluster.cluster_options import ClusterOptions
from shop.operator.cluster.overview import one_line
from shop.operator.cluster.pod_logs import Source, sources
from shop.operator.cluster.port_forward import port_in
from shop.operator.errors import ShopctlError

Called = list[tuple[Any, ...]]


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Called:
    """What was asked of the cluster."""
    found: Called = []

    def recorded(name: str) -> Callable[..., None]:
        return lambda *arguments: found.append((name, *arguments))

    for name in ("plan", "status", "audit", "backup", "logs", "suspend", "retry"):
        monkeypatch.setattr(actions, name, recorded(name))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SHOP_AUDIT_DATABASE_URL", raising=False)
    return found


def shopctl(*arguments: str) -> Result:
    return CliRunner().invoke(shopctl_app, list(arguments))


def kubectl_shop(*arguments: str) -> Result:
    return CliRunner().invoke(kubectl_shop_app, list(arguments))


HERE = ClusterOptions()
THERE = ClusterOptions("books", "prod", Path("config"))
OPTIONS = ("--namespace", "books", "--context", "prod", "--kubeconfig", "config")


@pytest.mark.parametrize(
    ("command", "call"),
    [
        (("plan", "-f", "shop.yaml"), ("plan", Path("shop.yaml"), False)),
        (("status", "bookshop"), ("status", "bookshop", False)),
        (("status", "bookshop", "--json"), ("status", "bookshop", True)),
        (("backup", "bookshop", "--timeout", "60"), ("backup", "bookshop", 60.0)),
        (("logs", "bookshop"), ("logs", "bookshop", None, 50, False)),
        (("logs", "bookshop", "order", "-f", "--lines", "5"), ("logs", "bookshop", "order", 5, True)),
        (("suspend", "bookshop"), ("suspend", "bookshop", True, 30.0)),
        (("resume", "bookshop", "--timeout", "1"), ("suspend", "bookshop", False, 1.0)),
        (("retry", "bookshop"), ("retry", "bookshop", 30.0)),
    ],
)
@pytest.mark.parametrize("run", [shopctl, kubectl_shop])
@pytest.mark.parametrize(("options", "where"), [((), HERE), (OPTIONS, THERE)])
def test_a_name_is_a_shop_in_a_cluster(
    called: Called,
    run: Callable[..., Result],
    command: tuple[str, ...],
    call: tuple[Any, ...],
    options: tuple[str, ...],
    where: ClusterOptions,
) -> None:
    assert run(*command, *options).exit_code == 0
    assert called == [(call[0], where, *call[1:])]


@pytest.mark.parametrize("run", [shopctl, kubectl_shop])
def test_the_audit_takes_the_same_options_for_a_cluster(called: Called, run: Callable[..., Result]) -> None:
    assert run("audit", "bookshop", "--settle-seconds", "0", "--wait", "5", "-n", "books", "--json").exit_code == 0
    ((name, where, shop, options, wait_s, as_json),) = called
    assert (name, where, shop, wait_s, as_json) == ("audit", ClusterOptions("books"), "bookshop", 5.0, True)
    assert (options.settle_s, options.order_deadline_s) == (0.0, 960.0)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (("status", "--namespace", "books"), "which Shop?"),
        (("audit", "-n", "books"), "which Shop?"),
        (("logs", "--context", "prod"), "which Shop?"),
        (("status", "bookshop", "--data-dir", "elsewhere"), "use only one of them"),
        (("audit", "bookshop", "--data-dir", "elsewhere"), "use only one of them"),
        (("audit", "bookshop", "--database-url", "postgresql://x/{noun}"), "--database-url"),
        (("logs", "bookshop", "order", "--data-dir", "elsewhere"), "use only one of them"),
    ],
)
def test_what_does_not_go_together_is_said(called: Called, command: tuple[str, ...], message: str) -> None:
    done = shopctl(*command)
    assert isinstance(done.exception, ShopctlError)
    assert message in str(done.exception)
    assert called == []


@pytest.mark.parametrize("command", [("status",), ("audit",), ("logs",), ("logs", "order"), ("logs", "order-2", "-f")])
def test_without_a_shops_name_it_is_the_shop_on_this_machine(called: Called, command: tuple[str, ...]) -> None:
    done = shopctl(*command)
    assert "shopctl up`" in str(done.exception)
    assert called == []


@pytest.mark.parametrize(
    ("command", "call"),
    [
        (("logs", "order", "-n", "books"), (ClusterOptions("books"), "order", None, 50, False)),
        (("logs", "bookshop", "-n", "7"), (ClusterOptions(), "bookshop", None, 7, False)),
        (("logs", "bookshop", "order", "-n", "books"), (ClusterOptions("books"), "bookshop", "order", 50, False)),
        (("logs", "order", "--context", "prod"), (ClusterOptions(context="prod"), "order", None, 50, False)),
    ],
)
def test_the_short_option_of_logs_is_a_number_of_lines_or_a_namespace(
    called: Called, command: tuple[str, ...], call: tuple[Any, ...]
) -> None:
    assert shopctl(*command).exit_code == 0
    assert called == [("logs", *call)]


def test_lines_of_a_local_log_are_cut_by_the_short_option(called: Called, tmp_path: Path) -> None:
    logs = tmp_path / ".shop" / "logs"
    logs.mkdir(parents=True)
    (logs / "prepare.log").write_text("one\ntwo\nthree\n")
    assert shopctl("logs", "prepare", "-n", "2").stdout == "two\nthree\n"
    assert called == []


@pytest.mark.parametrize("arguments", [(), ("-f",), ("--nonsense",), ("-f", "shop.yaml", "more")])
def test_a_wrong_plan_command_does_not_look_like_a_plan_with_changes(
    called: Called, arguments: tuple[str, ...]
) -> None:
    assert shopctl("plan", *arguments).exit_code == 1
    assert shopctl("status", "--nonsense").exit_code == 2


@pytest.mark.parametrize("command", ["plan", "status", "audit", "backup", "logs", "suspend", "resume", "retry"])
def test_every_command_explains_how_to_name_a_cluster(command: str) -> None:
    for run in (shopctl, kubectl_shop):
        shown = run(command, "--help").stdout
        assert all(option in shown for option in ("--namespace", "-n", "--context", "--kubeconfig"))


# what the commands decide by


def pod(name: str, *, init: str = "", main: str = "", phase: str = "Running") -> dict[str, Any]:
    status: dict[str, Any] = {"phase": phase}
    for field, state in (("initContainerStatuses", init), ("containerStatuses", main)):
        if state:
            status[field] = [{"name": field[:4], "state": {state: {}}}]
    return {"metadata": {"name": name}, "status": status}


def test_logs_are_of_what_has_run() -> None:
    pods = [
        pod("b", init="terminated", main="running"),
        pod("a", init="terminated", main="waiting"),
        pod("c", main="terminated"),
        pod("d"),
    ]
    assert sources(pods) == [Source("a", "init", True), Source("b", "cont", False), Source("c", "cont", False)]
    assert sources(pods, running=True) == [Source("b", "cont", False)]
    assert [source.prefix for source in sources(pods)] == ["a/init", "b", "c"]


def test_a_container_that_crashed_before_is_shown_while_it_waits() -> None:
    crashed = pod("a", main="waiting")
    crashed["status"]["containerStatuses"][0]["lastState"] = {"terminated": {}}
    assert sources([crashed]) == [Source("a", "cont", False)]


def test_the_job_of_a_backup_has_a_name_that_kubernetes_takes() -> None:
    from datetime import UTC, datetime

    metadata = {"name": "b" * 52, "namespace": "n", "uid": "u", "labels": {"shops.shopkeeper.dev/shop": "b", "x": "y"}}
    schedule = {"metadata": metadata, "spec": {"jobTemplate": {"spec": {"template": {}}}}}
    job = job_of(schedule, datetime(2026, 11, 22, 8, 0, 1, tzinfo=UTC), "beef")
    assert job["metadata"]["name"] == "b" * 43 + "-20261122080001-beef"
    assert job["metadata"]["labels"] == {"shops.shopkeeper.dev/shop": "b"}
    assert job["spec"] == {"template": {}}


@pytest.mark.parametrize(("target", "number"), [("postgres", 6000), (7000, 7000), (None, 5432)])
def test_a_services_port_leads_to_its_container(target: str | int | None, number: int) -> None:
    port = {"port": 5432} | ({"targetPort": target} if target else {})
    service = {"metadata": {"name": "s"}, "spec": {"ports": [port]}}
    pod = {"spec": {"containers": [{"ports": [{"name": "postgres", "containerPort": 6000}]}]}}
    assert port_in(pod, service, 5432) == number
    with pytest.raises(ShopctlError, match="Service s has no port 1"):
        port_in(pod, service, 1)


def test_a_long_message_is_one_line_of_a_table() -> None:
    assert one_line("a\n b") == "a b"
    assert len(one_line("x" * 1_000)) == 203
