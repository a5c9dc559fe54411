"""IPv4 and IPv6: the families of every Service, and stores that listen on both with the chart's configuration."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis.asyncio as redis

from services.kit.tests.test_addresses import needs_ipv6
from shop.devkit.embedded import NatsStore, PostgresStore, Server, Store, ValkeyStore
from shop.devkit.postgres import SUPERUSER
from shop.devkit.processes import write_private
from shop.devkit.testing import wait_until
from shop.kit.bus import Bus
from shop.kit.db import Database
from shop.kit.tasks import Tasks
from tests.charts.rendering import PRESETS, Object, kind, named, preset, template

LOOPBACKS = ("127.0.0.1", "::1")
# Letters and digits, a letter first, as the chart generates them: NATS reads a first digit or minus as a number.
PASSWORD = "p1assword"


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


@pytest.fixture
def started(tmp_path: Path) -> Iterator[Callable[[type[Store]], Store]]:
    servers: list[Server] = []

    def start(kind_of: type[Store]) -> Store:
        store = kind_of(tmp_path / "store")
        store.directory.mkdir()
        write_private(store.directory / "secret", PASSWORD)
        servers.append(store.start())
        return store

    yield start
    for server in servers:
        server.stop()


Start = Callable[[type[Store]], Store]


@needs_ipv6
async def test_the_services_reach_the_charts_postgresql_by_both_families(started: Start) -> None:
    store = started(ChartPostgres)
    for address in LOOPBACKS:
        url = f"postgresql://{SUPERUSER}:{store.secret}@{host_of(address)}:{store.port}/postgres"
        database = await Database.connect(url, pool_size=1, application="test")
        assert await database.fetchval("SELECT host(inet_server_addr())") == address
        await database.close()


@needs_ipv6
async def test_the_services_reach_the_charts_nats_by_both_families(started: Start) -> None:
    store = started(ChartNats)
    for address in LOOPBACKS:
        bus, tasks = Bus(f"nats://shop:{store.secret}@{host_of(address)}:{store.port}", "test"), Tasks()
        bus.start(tasks)
        await wait_until(lambda bus=bus: bus.connected, what=f"NATS at {address}")  # type: ignore[misc]
        await tasks.stop()
        await bus.close()


@needs_ipv6
async def test_the_storefront_reaches_the_charts_valkey_by_both_families(started: Start) -> None:
    store = started(ChartValkey)
    for address in LOOPBACKS:
        client = redis.from_url(f"redis://:{store.secret}@{host_of(address)}:{store.port}/0")
        assert await client.ping()
        await client.aclose()


def host_of(address: str) -> str:
    """As in a URL."""
    return f"[{address}]" if ":" in address else address


def test_an_ipv6_address_of_an_external_database_is_put_in_brackets() -> None:
    chart, arguments = PRESETS["shop-pooler"]
    hosts = "database.external.host=fd00::5,database.external.pooler.host=fd00::6"
    secret = named(template(chart, *arguments, "--set", hosts), "Secret", "database-order")["stringData"]
    assert "@[fd00::6]:6432/shop_order?" in secret["url"]
    assert "@[fd00::5]:5432/shop_order?" in secret["url-direct"]
