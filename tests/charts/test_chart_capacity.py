"""Connections and storage that a shop needs are computed from its values and refused where they do not fit."""

from __future__ import annotations

import re

import pytest

from shop.kit.bus import MIN_STREAM_BYTES
from shop.kit.currencies import EXPONENTS
from shop.kit.settings import ServiceSettings
from shop.operator.services import WITH_DATABASE
from shop.payment.stripe_amounts import takes_every_amount
from tests.charts.rendering import CHARTS, Refused, kind, named, template

HELPERS = CHARTS / "shop" / "templates" / "_helpers.tpl"
STREAMS = len(WITH_DATABASE)
WITHOUT_THREE = (
    "--set",
    ",".join(f"services.{noun}.enabled=false" for noun in ("notification", "user", "recommendation")),
)


def sizes(*arguments: str) -> tuple[int, int]:
    """The bytes of each stream and of all streams in NATS."""
    objects = template("shop", *arguments)
    conf = named(objects, "ConfigMap", "nats")["data"]["nats.conf"]
    room = int(conf.split("max_file_store: ")[1].split(" ")[0])
    return int(named(objects, "ConfigMap", "streams")["data"]["SHOP_STREAM_BYTES"]), room


@pytest.mark.parametrize(("storage", "volume_bytes"), [("5Gi", 5 << 30), ("1G", 10**9), ("1.5Gi", 3 << 29)])
def test_streams_leave_a_part_of_the_volume_free(storage: str, volume_bytes: int) -> None:
    stream, room = sizes("--set", f"messaging.storage={storage}")
    assert STREAMS * stream < room < volume_bytes
    assert STREAMS * stream > 0.79 * volume_bytes


def test_fewer_services_have_larger_streams() -> None:
    assert sizes(*WITHOUT_THREE)[0] * (STREAMS - 3) == pytest.approx(sizes()[0] * STREAMS, rel=0.001)


def test_a_volume_that_is_too_small_is_refused_with_the_numbers() -> None:
    needed = STREAMS * 20
    sentence = f"messaging.storage 100Mi is too small: {STREAMS} streams .* 16 MiB each, so at least {needed}Mi"
    with pytest.raises(Refused, match=sentence):
        template("shop", "--set", "messaging.storage=100Mi")
    template("shop", "--set", f"messaging.storage={needed + 1}Mi")


def test_every_service_with_events_reads_the_size() -> None:
    reading = {
        found["metadata"]["name"]
        for found in kind(template("shop"), "Deployment")
        if {"configMapRef": {"name": "streams"}}
        in found["spec"]["template"]["spec"]["containers"][0].get("envFrom", [])
    }
    assert reading == set(WITH_DATABASE)


SCALED = ",".join(
    f"services.{noun}.autoscaling.enabled=true,services.{noun}.autoscaling.maxReplicas=10" for noun in WITH_DATABASE
)
POOL = ServiceSettings.model_fields["database_pool_size"].default
REPLICAS = "services.order.replicas=2,services.product.replicas=2"
MOST = STREAMS * 11 * POOL + 10
"""Connections with ten pods of each service and one more of an update: a pool each, and 10 of others."""
EXTERNAL = (
    "--set",
    "database.mode=External,database.external.host=db.example,global.secrets.postgres=admin",
)


def max_connections(*arguments: str) -> int:
    """max_connections of the bundled server."""
    conf = named(template("shop", *arguments), "ConfigMap", "postgres")["data"]["postgresql.conf"]
    return int(conf.split("max_connections = ")[1].split("\n")[0])


def refusal(*arguments: str) -> str:
    """Helm's error message for the values."""
    with pytest.raises(Refused) as caught:
        template("shop", *arguments)
    return str(caught.value)


def needed(*arguments: str) -> int:
    """How many connections the services may open, by the message that refuses a server with one."""
    found = re.search(r"may open (\d+) connections", refusal(*arguments, "--set", "database.maxConnections=1"))
    assert found
    return int(found[1])


def test_the_connections_are_those_of_the_maximum_of_pods() -> None:
    assert needed("--set", "services.order.replicas=1") == STREAMS * 2 * POOL + 10
    small_pool = ("--set-string", "services.pricing.config.SHOP_DATABASE_POOL_SIZE=2")
    few = ("--set", "services.order.replicas=20,services.payment.maxSurge=50%,services.payment.replicas=3", *small_pool)
    # Others: 2 pods; pricing 2 pods of 2; order 21; payment 3 and 2 of an update; 10 of others.
    assert needed(*few) == (STREAMS - 3) * 2 * POOL + 2 * 2 + 21 * POOL + 5 * POOL + 10
    with_jobs = ("--set", "services.order.migrations.mode=Job,backup.enabled=true,backup.destination=pvc://a/b")
    assert needed(*few, *with_jobs) == needed(*few) + 2 + STREAMS * 3


def test_the_server_allows_them_in_hundreds_because_it_restarts_when_the_limit_changes() -> None:
    assert max_connections() == 200
    assert needed() + 3 * POOL < 200, "three more pods leave the server as it is"
    many = ("--set", "services.order.replicas=20")
    assert 200 < needed(*many) < 300
    assert max_connections(*many) == 300
    servers = [named(template("shop", *more), "StatefulSet", "postgres") for more in ((), ("--set", REPLICAS))]
    assert servers[0] == servers[1]


def test_pools_that_the_server_cannot_serve_are_refused_with_the_numbers() -> None:
    text = refusal("--set", SCALED)
    assert (
        f"allows up to 500, but the services may open {MOST} connections ({WITH_DATABASE[0]} 11 pods x {POOL}, " in text
    )
    assert "others 10)" in text
    assert (
        f"database.maxConnections is 100, but the services may open {STREAMS * 2 * POOL + 10} connections"
        in refusal("--set", "database.maxConnections=100")
    )
    assert max_connections("--set", SCALED, "--set", f"database.maxConnections={MOST + 60}") == MOST + 60
    assert f"may open {MOST}" in refusal("--set", SCALED, "--set", f"database.maxConnections={MOST - 1}")
    assert max_connections("--set", SCALED, "--set", f"database.maxConnections={MOST}") == MOST


def test_the_limit_of_a_server_elsewhere_is_compared_once_it_is_stated() -> None:
    template("shop", *EXTERNAL, "--set", SCALED)
    stated = ("--set", "database.maxConnections=400")
    assert f"database.maxConnections is 400, but the services may open {MOST}" in refusal(
        *EXTERNAL, "--set", SCALED, *stated
    )


def test_a_pool_size_in_env_counts() -> None:
    env = '[{"name": "SHOP_DATABASE_POOL_SIZE", "value": "64"}]'
    assert needed("--set-json", f"services.order.env={env}") == (STREAMS - 1) * 2 * POOL + 2 * 64 + 10


def test_the_chart_counts_with_the_defaults_of_the_services() -> None:
    assert needed("--set", "services.order.replicas=30") == (STREAMS - 1) * 2 * POOL + 31 * POOL + 10
    assert f"need {MIN_STREAM_BYTES >> 20} MiB each" in refusal("--set", "messaging.storage=100Mi")


def test_currencies_that_stripe_cannot_charge_are_those_of_the_payment_service() -> None:
    listed = re.search(r'define "shop.notForStripe" -}}\n{{ list (.*) \| toJson', HELPERS.read_text(encoding="utf-8"))
    assert listed is not None
    assert re.findall(r'"([A-Z]{3})"', listed[1]) == [
        code for code in sorted(EXPONENTS) if not takes_every_amount(code)
    ]
