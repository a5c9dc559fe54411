"""Which instances are read: those that discovery finds, and what the supervisor of this machine has stopped."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import orjson

from shop.kit.balancing.instance import About
from shop.kit.discovery.dns import DnsDiscovery
from shop.ops.instances import Directory, Known
from shop.ops.supervisor import Supervisor


class Names:
    """Addresses by name, as a DNS server would answer."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = addresses

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        if not self.addresses:
            raise OSError(f"no address of {host}")
        return self.addresses


async def test_every_pod_behind_a_name_is_an_instance_and_the_last_ones_stay() -> None:
    names = Names("10.0.0.1", "10.0.0.2")
    discovery = DnsDiscovery(names)
    directory = Directory(discovery, {"order": ["http://order-pods:8000"]})
    assert await directory.of("order") == [Known("http://order-pods:8000")]
    [(urls, changed)] = discovery._followed
    await discovery.look_up(urls, changed)
    found = [Known(f"http://{address}:8000", address) for address in names.addresses]
    assert await directory.of("order") == found
    names.addresses = ()
    await discovery.look_up(urls, changed)
    assert await directory.all() == {"order": found}
    assert await directory.of("payment") == []


async def test_on_this_machine_stopped_instances_and_restarts_are_known(tmp_path: Path) -> None:
    common = {"kind": "service", "state": "ready", "healthy": True, "pid": 1, "detail": ""}
    components = [
        {**common, "name": "order-1", "port": 8_101, "restarts": 3},
        {**common, "name": "order-2", "port": 8_102, "restarts": 0, "state": "stopped"},
        {**common, "name": "postgres", "port": 5_432, "restarts": 0, "kind": "store"},
    ]
    (tmp_path / "state.json").write_bytes(orjson.dumps({"components": components}))
    directory = Directory(DnsDiscovery(), {"order": ["http://127.0.0.1:8101"]}, Supervisor(tmp_path))
    directory._changed("order", {"http://127.0.0.1:8101": About("order-1"), "http://10.0.0.7:8000": About("outside")})
    assert await directory.of("order") == [
        Known("http://127.0.0.1:8101", "order-1", 3),
        Known("http://127.0.0.1:8102", "order-2", 0),
        Known("http://10.0.0.7:8000", "outside"),
    ]
    (tmp_path / "state.json").unlink()
    assert [one.restarts for one in await directory.of("order")] == [None, None]
