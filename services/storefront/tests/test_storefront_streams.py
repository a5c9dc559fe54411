from __future__ import annotations

from prometheus_client import REGISTRY

from shop.kit.balancing.instance import About
from shop.kit.http import Clients
from shop.storefront.live import EventStreams


async def test_streams_and_pages_share_what_is_known_of_a_service_and_its_metrics() -> None:
    clients = Clients()
    pages = clients.get("order", "http://127.0.0.1:1")
    streams = EventStreams({"order": "http://127.0.0.1:1"}, clients)
    pages.pool.update({f"http://127.0.0.1:{port}": About() for port in (1, 2, 3)})
    assert REGISTRY.get_sample_value("shop_upstream_instances", {"upstream": "order", "state": "known"}) == 3
    await streams.close()
    await clients.close()
