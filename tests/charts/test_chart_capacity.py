"""What a shop may take of its stores is computed from its values and refused where it does not fit."""

from __future__ import annotations

import pytest

from tests.charts.rendering import Refused, kind, named, template

WITHOUT_NOTIFICATION = ("--set", "notification.enabled=false,user.enabled=false")


def sizes(*arguments: str) -> tuple[int, int]:
    """The bytes of each stream and of all that NATS may store."""
    objects = template("shop", *arguments)
    conf = named(objects, "ConfigMap", "nats")["data"]["nats.conf"]
    room = int(conf.split("max_file_store: ")[1].split(" ")[0])
    return int(named(objects, "ConfigMap", "streams")["data"]["SHOP_STREAM_BYTES"]), room


@pytest.mark.parametrize(("storage", "volume_bytes"), [("5Gi", 5 << 30), ("1G", 10**9), ("1.5Gi", 3 << 29)])
def test_streams_fit_the_volume_with_room_to_spare(storage: str, volume_bytes: int) -> None:
    stream, room = sizes("--set", f"messaging.storage={storage}")
    assert 6 * stream < room < volume_bytes
    assert 6 * stream > 0.79 * volume_bytes


def test_fewer_services_have_larger_streams() -> None:
    assert sizes(*WITHOUT_NOTIFICATION)[0] * 4 == pytest.approx(sizes()[0] * 6, rel=0.001)


def test_a_volume_that_is_too_small_is_refused_with_the_numbers() -> None:
    with pytest.raises(
        Refused, match=r"messaging.storage 100Mi is too small: 6 streams .* 16 MiB each, so at least 120Mi"
    ):
        template("shop", "--set", "messaging.storage=100Mi")
    template("shop", "--set", "messaging.storage=121Mi")


def test_every_service_with_events_reads_the_size() -> None:
    reading = {
        found["metadata"]["name"]
        for found in kind(template("shop"), "Deployment")
        if {"configMapRef": {"name": "streams"}} in found["spec"]["template"]["spec"]["containers"][0]["envFrom"]
    }
    assert reading == {"product", "pricing", "order", "payment", "user", "notification"}
