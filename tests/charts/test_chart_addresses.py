"""IPv4 and IPv6: the families of every Service, and stores that listen on both as the chart configures them."""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest

from services.kit.tests.test_addresses import needs_ipv6
from shop.kit.embedded import NatsStore, PostgresStore, Server, Store, ValkeyStore
from shop.kit.postgres import SUPERUSER
from tests.charts.rendering import Object, kind, named, preset, template

LOOPBACKS = ("127.0.0.1", "::1")
TIMEOUT_S = 10.0


def families(service: Object) -> tuple[str | None, list[str] | None]:
    return service["spec"].get("ipFamilyPolicy"), service["spec"].get("ipFamilies")


def test_every_service_has_the_families_that_are_given() -> None:
    services = kind(preset("shop-everything"), "Service")
    names = {one["metadata"]["labels"]["app.kubernetes.io/name"] for one in services}
    assert names >= {"gateway", "order", "postgres", "nats", "valkey"}
    assert {str(families(one)) for one in services} == {str(("RequireDualStack", ["IPv6", "IPv4"]))}


@pytest.mark.parametrize("chart", ["shop", "shop-operator", "service"])
def test_without_them_the_cluster_decides(chart: str) -> None:
    services = kind(template(chart), "Service")
    assert services
    assert {families(one) for one in services} == {(None, None)}


def test_policies_name_no_networks_of_one_family() -> None:
    for name in ("shop-everything", "shop-cloudnativepg", "shop-operator-two"):
        for policy in kind(preset(name), "NetworkPolicy"):
            assert "ipBlock" not in str(policy)


class ChartPostgres(PostgresStore):
    """With the configuration files of the chart, but for folders and the port."""

    def prepare(self) -> None:
        super().prepare()
        files = named(preset("shop"), "ConfigMap", "postgres")["data"]
        for name in ("pg_hba.conf", "pg_ident.conf"):
            (self.data / name).write_text(files[name])
        text = files["postgresql.conf"].replace("/etc/shop-postgres", str(self.data))
        text = re.sub("(?m)^(port|unix_socket_directories) .*$", "", text)
        (self.data / "postgresql.conf").write_text(text + "unix_socket_directories = ''\nfsync = off\n")


class ChartNats(NatsStore):
    def prepare(self) -> None:
        super().prepare()
        text = named(preset("shop"), "ConfigMap", "nats")["data"]["nats.conf"]
        text = text.replace(":4222", f":{self.port}").replace(":8222", ":0").replace("/data", "'.'")
        (self.directory / "nats.conf").write_text(text)

    def env(self) -> dict[str, str]:
        return {**super().env(), "NATS_PASSWORD": self.secret}


class ChartValkey(ValkeyStore):
    def command(self) -> list[str]:
        (container,) = named(preset("shop"), "StatefulSet", "valkey")["spec"]["template"]["spec"]["containers"]
        known = {"6379": str(self.port), "/data": ".", "$(VALKEY_PASSWORD)": self.secret}
        return [super().command()[0], *(known.get(argument, argument) for argument in container["args"])]


def said(host: str, port: int, request: bytes) -> bytes:
    with socket.create_connection((host, port), timeout=TIMEOUT_S) as connection:
        connection.sendall(request)
        return connection.recv(4096)


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Callable[[type[Store]], Store]]:
    servers: list[Server] = []

    def start(kind_of: type[Store]) -> Store:
        store = kind_of(tmp_path / "store")
        servers.append(store.start())
        return store

    yield start
    for server in servers:
        server.stop()


Start = Callable[[type[Store]], Store]


@needs_ipv6
def test_postgresql_of_the_chart_takes_logins_by_both_families(started: Start) -> None:
    store = started(ChartPostgres)
    for host in LOOPBACKS:
        url = f"postgresql://{SUPERUSER}:{store.secret}@[{host}]:{store.port}/postgres"
        with psycopg.connect(url.replace("[127.0.0.1]", "127.0.0.1")) as db:
            assert db.execute("SELECT inet_server_addr()").fetchone() == (ipaddress.ip_address(host),)


@needs_ipv6
def test_nats_of_the_chart_listens_on_both_families(started: Start) -> None:
    store = started(ChartNats)
    for host in LOOPBACKS:
        assert said(host, store.port, b"").startswith(b"INFO ")


@needs_ipv6
def test_valkey_of_the_chart_listens_on_both_families(started: Start) -> None:
    store = started(ChartValkey)
    for host in LOOPBACKS:
        assert b"+PONG" in said(host, store.port, f"AUTH {store.secret}\r\nPING\r\n".encode())
