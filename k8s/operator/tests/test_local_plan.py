"""What runs on one machine, and with which environment."""

import json
from dataclasses import replace

import pytest

from shop.kit import bus
from shop.operator.cli.status import status_table
from shop.operator.errors import ShopctlError
from shop.operator.local import change, collector, instances, requirements
from shop.operator.local.display import welcome
from shop.operator.local.instances import Instance, Wiring, check_provider, environment, replica_counts, stream_bytes
from shop.operator.resource.spec import Shop, ShopSpec

WIRES = Wiring(
    nats_url="nats://n",
    valkey_url="redis://v",
    internal_token="secret",
    admin_email="admin@shop.local",
    admin_password="hidden",
    public_url="http://localhost:8080",
    database_urls={"order": "postgresql://order", "user": "postgresql://user"},
)
EVERYONE = [
    Instance("order", 1, 9001),
    Instance("order", 2, 9002),
    Instance("user", 1, 9003),
    Instance("gateway", 1, 8080),
]


def spec(**fields: object) -> ShopSpec:
    return ShopSpec.model_validate(fields)


def test_replicas_come_from_the_spec_and_the_command_line_wins() -> None:
    counts = replica_counts(spec(services={"order": {"replicas": 3}, "product": {"replicas": 2}}), {"order": 2})
    assert (counts["order"], counts["product"], counts["gateway"]) == (2, 2, 1)
    assert list(counts)[-1] == "gateway"
    assert replica_counts(spec(), {"notification": 2})["notification"] == 2, "the mailbox has no port"


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"ordr": 2}, "no service ordr"),
        ({"gateway": 2}, "gateway runs once"),
        ({"order": 0}, "order=0 must be within 1..16"),
        ({"order": 99}, "order=99 must be within 1..16"),
    ],
)
def test_impossible_replicas_are_refused(asked: dict[str, int], message: str) -> None:
    with pytest.raises(ShopctlError, match=message):
        replica_counts(spec(), asked)


def test_a_change_keeps_the_number_of_processes_unless_the_spec_has_another() -> None:
    running = {"order": 3, "product": 2, "gateway": 1}
    new = spec(services={"product": {"replicas": 4}}, modules={"arcade": True})
    counts = change.counts(spec(), new, {"player": 2, "delivery": 2}, lambda noun: running.get(noun, 0))
    assert {noun: counts[noun] for noun in ("order", "product", "gateway", "player", "leaderboard")} == {
        "order": 3,
        "product": 4,
        "gateway": 1,
        "player": 2,
        "leaderboard": 1,
    }
    assert "delivery" not in counts


def test_a_service_has_the_addresses_of_all_instances_and_only_its_own_database() -> None:
    env = environment(EVERYONE[0], spec(), WIRES, EVERYONE, {"PATH": "/bin"})
    assert env["SHOP_ORDER_URL"] == "http://127.0.0.1:9001,http://127.0.0.1:9002"
    assert env["SHOP_JWKS_URL"] == "http://127.0.0.1:9003/.well-known/jwks.json"
    assert env["SHOP_DATABASE_URL"] == "postgresql://order"
    assert "postgresql://user" not in env.values()
    assert json.loads(env["SHOP_STORE"])["currency"] == "EUR"
    assert env["PATH"] == "/bin"


def test_a_grpc_server_has_a_port_of_its_own_and_the_others_know_it() -> None:
    servers = [Instance("product", 1, 9004, 9104), Instance("product", 2, 9005, 9105)]
    served, other = (environment(one, spec(), WIRES, [*EVERYONE, *servers], {}) for one in (servers[1], EVERYONE[0]))
    assert (served["SHOP_GRPC_HOST"], served["SHOP_GRPC_PORT"]) == ("127.0.0.1", "9105")
    assert "SHOP_GRPC_PORT" not in other
    assert other["SHOP_PRODUCT_GRPC_URL"] == "127.0.0.1:9104,127.0.0.1:9105"


def test_only_the_user_service_learns_the_admins_password() -> None:
    holders = [one.noun for one in EVERYONE if "hidden" in environment(one, spec(), WIRES, EVERYONE, {}).values()]
    assert holders == ["user"]


def test_the_spec_sets_environment_and_log_level_of_one_service() -> None:
    shop = spec(services={"order": {"env": {"SHOP_SAGA_DEADLINE_S": "60"}, "logLevel": "DEBUG"}})
    order, user = (environment(one, shop, WIRES, EVERYONE, {}) for one in (EVERYONE[0], EVERYONE[2]))
    assert (order["SHOP_SAGA_DEADLINE_S"], order["SHOP_LOG_LEVEL"]) == ("60", "DEBUG")
    assert "SHOP_SAGA_DEADLINE_S" not in user


def test_the_spec_cannot_redirect_a_service_to_another_one() -> None:
    shop = spec(services={"order": {"env": {"SHOP_USER_URL": "http://elsewhere"}}})
    assert environment(EVERYONE[0], shop, WIRES, EVERYONE, {})["SHOP_USER_URL"] == "http://127.0.0.1:9003"


def test_tracing_of_the_spec_reaches_the_services() -> None:
    shop = spec(observability={"tracing": {"endpoint": "http://collector:4318", "sampleRatio": 0.5}})
    env = environment(EVERYONE[0], shop, WIRES, EVERYONE, {})
    assert (env["SHOP_TRACING_ENDPOINT"], env["SHOP_TRACE_SAMPLE_RATIO"]) == ("http://collector:4318", "0.5")


def test_missing_data_stores_are_named_with_the_command_that_installs_them() -> None:
    requirements.check()
    with pytest.raises(ShopctlError, match=r"needs no-such-store, which is not installed: pip install 'shop-operator"):
        requirements.check(("psutil", "no_such_store"))


def test_a_provider_that_needs_card_entry_is_refused_before_anything_starts() -> None:
    check_provider({})
    check_provider({"SHOP_PAYMENT_PROVIDER": "simulator"})
    with pytest.raises(ShopctlError, match="SHOP_PAYMENT_PROVIDER is stripe; it must be simulator, because"):
        check_provider({"SHOP_PAYMENT_PROVIDER": "stripe"})


def test_streams_share_half_of_the_disk_and_need_some_of_it() -> None:
    assert instances.MIN_STREAM_BYTES == bus.MIN_STREAM_BYTES
    assert stream_bytes(6 * 2 << 30, "/shop", 6) == 1 << 30
    assert stream_bytes(6 * 100 << 20, "/shop", 6) == 50 << 20
    with pytest.raises(ShopctlError, match=r"/shop has 190 MiB free and needs 192 MiB for the events of 6 services"):
        stream_bytes(190 << 20, "/shop", 6)


def test_the_size_of_streams_is_the_plans_unless_the_environment_has_one() -> None:
    assert environment(EVERYONE[0], spec(), WIRES, EVERYONE, {})["SHOP_STREAM_BYTES"] == str(1 << 30)
    given = environment(EVERYONE[0], spec(), WIRES, EVERYONE, {"SHOP_STREAM_BYTES": "20000000"})
    assert given["SHOP_STREAM_BYTES"] == "20000000"


def test_addresses_of_grpc_servers_are_shown() -> None:
    components = [
        {"name": "recommendation-1", "port": 9005, "grpc_port": 9105},
        {"name": "recommendation-2", "port": 9006, "grpc_port": 9106},
        {"name": "order-1", "port": 9001},
    ]
    addresses = instances.grpc_addresses(components)
    assert addresses == {"recommendation": ["127.0.0.1:9105", "127.0.0.1:9106"]}
    shown = welcome("http://localhost:8080", 1.0, {"email": "a", "password_file": "p"}, None, ".shop", addresses)
    assert "  gRPC      127.0.0.1:9105, 127.0.0.1:9106 (recommendation)\n" in shown
    supervisor = {"pid": 1, "memory_bytes": 0}
    state = {"state": "ready", "healthy": True, "pid": 2, "restarts": 0, "memory_bytes": 0, "detail": ""}
    found = {"components": [{**one, **state} for one in components], "supervisor": supervisor, "phase": "selling"}
    table = status_table({**found, "url": "http://localhost:8080", "data_dir": ".shop"})
    assert "\ngRPC of recommendation: 127.0.0.1:9105, 127.0.0.1:9106\n" in table


ROOM = Instance("ops", 1, 9009)


def traces_of(base: dict[str, str], everyone: list[Instance], **fields: object) -> dict[str, str | None]:
    names = ("SHOP_TRACING_ENDPOINT", "SHOP_TRACE_SAMPLE_RATIO", "SHOP_TRACES_PER_SECOND")
    env = environment(EVERYONE[0], spec(**fields), WIRES, everyone, base)
    return {name: env.get(name) for name in names if name in env}


def test_traces_go_to_the_control_room_unless_there_is_a_collector() -> None:
    collector = {"tracing": {"endpoint": "http://collector:4318", "sampleRatio": 0.5}}
    with_room = [*EVERYONE, ROOM]
    here = {"SHOP_TRACING_ENDPOINT": "http://127.0.0.1:9009", "SHOP_TRACES_PER_SECOND": "5"}
    assert traces_of({}, EVERYONE) == {}
    assert traces_of({}, with_room) == here
    given = {"SHOP_TRACING_ENDPOINT": "http://elsewhere:4318"}
    assert traces_of(given, with_room) == {**here, **given}
    assert traces_of({}, with_room, observability=collector) == {
        "SHOP_TRACING_ENDPOINT": "http://collector:4318",
        "SHOP_TRACE_SAMPLE_RATIO": "0.5",
    }


def test_faults_are_injected_only_where_a_control_room_runs() -> None:
    for everyone, expected in ((EVERYONE, None), ([*EVERYONE, ROOM], "true")):
        assert environment(EVERYONE[0], spec(), WIRES, everyone, {}).get("SHOP_FAULT_INJECTION") == expected


def test_the_control_room_knows_the_folder_of_its_shop() -> None:
    env = environment(ROOM, spec(), replace(WIRES, data_dir="/data/shop"), [*EVERYONE, ROOM], {})
    assert env["SHOP_LOCAL_DATA_DIR"] == "/data/shop"
    assert env["SHOP_TRACES_FILE"] == "/data/shop/traces.sqlite"


def test_up_has_a_control_room_unless_asked_not_to() -> None:
    shop = Shop.model_validate(
        {"apiVersion": "shops.shopkeeper.dev/v1alpha1", "kind": "Shop", "metadata": {"name": "books"}}
    )
    assert "ops" in shop.with_module("ops", on=True).spec.nouns
    assert "ops" not in shop.with_module("ops", on=True).with_module("ops", on=False).spec.nouns
    assert "ops" not in shop.spec.nouns


@pytest.mark.parametrize(
    ("endpoint", "kept"),
    [("http://127.0.0.1:4318", True), ("http://localhost:4318", True), ("http://collector.invalid:4318", False)],
)
async def test_a_collector_of_a_cluster_is_left_out(endpoint: str, kept: bool) -> None:
    tracing = {"observability": {"tracing": {"endpoint": endpoint, "sampleRatio": 1}}}
    head = {"apiVersion": "shops.shopkeeper.dev/v1alpha1", "kind": "Shop", "metadata": {"name": "books"}}
    said: list[str] = []
    found = await collector.left_out_if_unknown(Shop.model_validate({**head, "spec": tracing}), said.append)
    assert (found.spec.observability.tracing.endpoint is not None) == kept
    assert bool(said) != kept
