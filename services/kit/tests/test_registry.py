"""Instances find each other in the registry, and nobody is lost when it is away."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.errors import Error as NatsError
from nats.js.kv import KeyValue

from shop.devkit import embedded
from shop.devkit.testing import wait_until
from shop.kit import draining
from shop.kit.balancing.instance import About
from shop.kit.bus import Bus
from shop.kit.discovery import registry as registry_module
from shop.kit.discovery.dns import DnsDiscovery
from shop.kit.discovery.membership import Membership, Registration
from shop.kit.discovery.registry import BUCKET, Registry
from shop.kit.errors import Unavailable
from shop.kit.tasks import Tasks

TTL_S = 1.8
WAIT_S = 10.0


def registration(number: int, service: str = "order") -> Registration:
    return Registration(service=service, id=f"{service}-{number}", url=f"http://127.0.0.1:{9_000 + number}")


async def always() -> bool:
    return True


@dataclass
class Process:
    """A process with its own connection, which listens at its address and follows the service order."""

    registry: Registry
    bus: Bus
    tasks: Tasks
    seen: list[Mapping[str, About]] = field(default_factory=list)

    @property
    def found(self) -> set[str]:
        """The ids of the instances that it uses."""
        return {one.id or url for url, one in self.seen[-1].items()} if self.seen else set()

    async def vanish(self) -> None:
        """End as by SIGKILL: without a word."""
        await self.tasks.stop()
        await self.bus.close()


Join = Callable[..., Process]


@contextlib.asynccontextmanager
async def joining(nats_url: str, listener: str) -> AsyncIterator[Join]:
    made: list[Process] = []

    def join(
        number: int, urls: tuple[str, ...] = (), ready: Callable[..., object] = always, service: str = "order"
    ) -> Process:
        bus, tasks = Bus(nats_url, f"{service}-{number}"), Tasks()
        own = registration(number, service).model_copy(
            update={"url": listener.replace("127.0.0.1", f"127.0.0.{number}")}
        )
        process = Process(Registry(bus, lambda: own, ttl_s=TTL_S), bus, tasks)
        made.append(process)
        bus.connect(tasks)
        process.registry.start(tasks)
        process.registry.follow("order", urls, process.seen.append)
        process.registry.announce(tasks, ready)  # type: ignore[arg-type]
        return process

    yield join
    for process in made:
        await process.registry.leave()
        await process.vanish()


@pytest.fixture
async def join(nats_url: str) -> AsyncIterator[Join]:
    server = await asyncio.start_server(lambda _, writer: writer.close(), "0.0.0.0", 0)
    port = server.sockets[0].getsockname()[1]
    async with joining(nats_url, f"http://127.0.0.1:{port}") as made:
        yield made
    server.close()


async def test_processes_find_each_other_and_one_that_leaves_is_gone(join: Join) -> None:
    one, two = join(1), join(2)
    await wait_until(lambda: one.found == two.found == {"order-1", "order-2"})
    late = join(3)
    await wait_until(lambda: one.found == late.found == {"order-1", "order-2", "order-3"})
    await two.registry.leave()
    await wait_until(lambda: one.found == late.found == {"order-1", "order-3"})


async def test_nothing_is_missed_between_what_is_stored_and_what_is_received(join: Join) -> None:
    """Registrations that are not renewed are stored one after the other while a process begins to listen."""
    one = join(1)
    await wait_until(lambda: one.found == {"order-1"})
    late, stored = join(2), set[str]()

    async def store() -> bool:
        registered = registration(10 + len(stored))
        await one.registry.put(registered)
        stored.add(registered.id)
        return len(stored) > 20 and late.registry.members.count() > 0

    await wait_until(store)
    await wait_until(lambda: stored <= {each.id for found in late.seen for each in found.values()})


async def test_a_process_that_starts_knows_the_others_before_it_serves(
    join: Join, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry_module, "KNOWN_WITHIN_S", WAIT_S)
    one = join(1)
    await wait_until(lambda: one.found == {"order-1"})
    late = join(2, urls=("http://127.0.0.1:1",))
    await late.registry.known()
    assert "order-1" in late.found


async def test_a_first_reading_that_fails_is_repeated(join: Join, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry_module, "KNOWN_WITHIN_S", 2 * WAIT_S)
    one = join(1)
    await wait_until(lambda: one.found == {"order-1"})
    late, failures = join(2), 0
    really = late.registry._read_registrations

    async def fails_once(wanted: AbstractSet[str]) -> None:
        nonlocal failures
        failures += 1
        if failures == 1:
            raise Unavailable("broker", "it is busy")
        await really(wanted)

    monkeypatch.setattr(late.registry, "_read_registrations", fails_once)
    await asyncio.wait_for(late.registry.known(), WAIT_S)
    assert failures > 1
    assert "order-1" in late.found


async def test_one_that_leaves_while_the_bucket_is_read_is_not_taken_for_present(
    join: Join, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = join(1)
    await wait_until(lambda: one.found == {"order-1"})
    await one.registry.put(registration(9, "pricing"))
    found, really = list[Mapping[str, About]](), KeyValue.watchall

    async def leaves_meanwhile(bucket: KeyValue, **options: object) -> object:
        watcher = await really(bucket, **options)
        await one.registry.remove("pricing.pricing-9")
        await one.registry.put(registration(8, "pricing"))
        await wait_until(lambda: one.registry.members.knows("pricing.pricing-8"))
        return watcher

    monkeypatch.setattr(KeyValue, "watchall", leaves_meanwhile)
    one.registry.follow("pricing", [], found.append)
    await one.registry.known()
    await wait_until(lambda: bool(found))
    assert {each.id for every in found for each in every.values()} == {"pricing-8"}


async def test_a_process_starts_without_the_registry() -> None:
    tasks = Tasks()
    registry = Registry(Bus("nats://127.0.0.1:1", "order"))
    registry.start(tasks)
    await asyncio.wait_for(registry.known(), WAIT_S)
    await tasks.stop()


async def test_all_leave_when_draining_begins(join: Join) -> None:
    one, two = join(1), join(2)
    await wait_until(lambda: one.found == two.found == {"order-1", "order-2"})
    draining.begin()
    await wait_until(lambda: one.registry.members.count() == two.registry.members.count() == 0)
    assert one.found, "the last known instances stay"


async def test_what_is_no_longer_renewed_expires(join: Join) -> None:
    one, two = join(1), join(2)
    await wait_until(lambda: one.found == {"order-1", "order-2"})
    await two.vanish()
    await wait_until(lambda: one.found == {"order-1"}, 4 * TTL_S)


async def test_the_only_instance_of_a_followed_service_expires(join: Join) -> None:
    """Then only its own renewals arrive: the registry is there, and the other process is not."""
    one, two = join(1, service="storefront"), join(2)
    await wait_until(lambda: one.found == {"order-2"} and one.registry.members.services() == {"order", "storefront"})
    await two.vanish()
    await wait_until(lambda: one.registry.members.services() == {"storefront"}, 4 * TTL_S)
    assert one.found == {"order-2"}, "the last known instances stay"


async def test_a_process_knows_those_that_it_follows(join: Join, monkeypatch: pytest.MonkeyPatch) -> None:
    """What each process received of all the others was most of what an idle shop did."""
    monkeypatch.setattr(registry_module, "KNOWN_WITHIN_S", WAIT_S)
    one, everyone, pricing = join(1), join(2), list[Mapping[str, About]]()
    everyone.registry.follow_all()
    await wait_until(lambda: one.found == {"order-1", "order-2"})
    await one.registry.put(registration(3, "pricing"))
    await one.registry.put(registration(4))
    await wait_until(lambda: everyone.found == one.found == {"order-1", "order-2", "order-4"})
    assert (one.registry.members.services(), everyone.registry.members.services()) == ({"order"}, {"order", "pricing"})
    await one.registry.put(registration(3, "pricing"))
    one.registry.follow("pricing", [], pricing.append)
    await one.registry.known()
    assert [set(map(_id, found.values())) for found in pricing] == [{"pricing-3"}]
    await one.registry.put(registration(5, "pricing"))
    await wait_until(lambda: set(map(_id, pricing[-1].values())) == {"pricing-3", "pricing-5"})


async def test_a_process_is_registered_once_it_is_ready(join: Join) -> None:
    is_ready = False

    async def ready() -> bool:
        return is_ready

    one, two = join(1), join(2, ready=ready)
    await wait_until(lambda: two.found == {"order-1"})
    await one.registry.put(registration(7))
    await wait_until(lambda: one.found == {"order-1", "order-7"})
    assert not two.registry.announced()
    is_ready = True
    await wait_until(lambda: "order-2" in one.found)
    await wait_until(two.registry.announced)


async def test_addresses_of_the_settings_are_used_until_everyone_was_heard_of(join: Join) -> None:
    one, others = join(1, urls=("http://127.0.0.1:9/",)), list[Mapping[str, About]]()
    one.registry.follow("order", ["grpc://127.0.0.1:8"], others.append)
    await wait_until(lambda: one.found == {"order-1", "http://127.0.0.1:9"})
    assert "grpc://127.0.0.1:8" in others[-1]
    assert "http://127.0.0.1:9" not in others[-1]
    await wait_until(lambda: one.found == {"order-1"}, 4 * TTL_S)


async def test_what_is_no_registration_is_ignored(join: Join) -> None:
    one = join(1)
    await wait_until(lambda: one.found == {"order-1"})
    bucket = await one.bus.stream.key_value(BUCKET)
    four, five = (registration(number).model_dump_json().encode() for number in (4, 5))
    for key, content in (("order.order-9", b"{"), ("order.order-8", four), ("order.order-6", b"x" * 5_000)):
        await bucket.put(key, content)
    await bucket.put("order.order-5", five)
    await wait_until(lambda: one.found == {"order-1", "order-5"})
    assert {each.id for found in one.seen for each in found.values()} == {"order-1", "order-5"}


@pytest.mark.parametrize("how", ["killed", "stopped"])
async def test_nobody_is_thrown_out_while_the_registry_is_away(tmp_path: Path, how: str) -> None:
    """Neither while it is away, for longer than a TTL, nor after it is back, without anything that it had in memory."""
    broker = embedded.start_nats(tmp_path / "nats")
    listening = await asyncio.start_server(lambda _, writer: writer.close(), "0.0.0.0", 0)
    port = listening.sockets[0].getsockname()[1]
    try:
        async with joining(broker.url, f"http://127.0.0.1:{port}") as join:
            one, two = join(1), join(2)
            await wait_until(lambda: one.found == two.found == {"order-1", "order-2"})
            await wait_until(lambda: one.registry.members.reachable_s > TTL_S)
            seen = len(one.seen)
            began = asyncio.get_running_loop().time()
            if how == "killed":
                broker.kill()
            else:
                broker.process.send_signal(signal.SIGSTOP)
            await wait_until(lambda: asyncio.get_running_loop().time() > began + 2 * TTL_S)
            if how == "killed":
                await asyncio.to_thread(broker.start)
            else:
                broker.process.send_signal(signal.SIGCONT)
            reachable_s = one.registry.members.reachable_s
            await wait_until(lambda: one.registry.members.reachable_s > reachable_s)
            await wait_until(lambda: is_stored(one), 10 * TTL_S)
            three = join(3)
            await wait_until(lambda: one.found == three.found == {"order-1", "order-2", "order-3"})
            assert [set(map(_id, found.values())) for found in one.seen[seen:]] == [{"order-1", "order-2", "order-3"}]
    finally:
        broker.process.send_signal(signal.SIGCONT)
        broker.stop()
        listening.close()


async def is_stored(process: Process) -> bool:
    """Whether a process that starts will read that this one is there."""
    with contextlib.suppress(Unavailable, NatsError):
        bucket = await process.bus.stream.key_value(BUCKET)
        return (await bucket.get("order.order-1")).value is not None
    return False


def _id(one: About) -> str:
    return one.id


EIGHTHS_S = st.integers(0, 320).map(lambda eighths: eighths / 8)
"""Sums of which are exact, here and there."""


@given(st.lists(st.tuples(st.integers(0, 3), EIGHTHS_S), max_size=40))
def test_an_instance_is_forgotten_only_when_others_renewed_for_longer_than_its_time(
    renewals: list[tuple[int, float]],
) -> None:
    members, now = Membership(0.0, ttl_s=12.0, renew_s=4.0), 0.0
    reachable_s, last = 0.0, {}
    for number, waited_s in renewals:
        now += waited_s
        reachable_s += min(waited_s, 4.0)
        members.renewed(registration(number), now)
        last[number] = reachable_s
        members.expired()
        last = {one: at for one, at in last.items() if reachable_s - at <= 12.0}
        assert {one.id for one in members.of("order").values()} == {f"order-{one}" for one in last}


async def test_every_address_of_a_name_is_an_instance_and_the_last_known_stay() -> None:
    addresses = {"product": ["10.0.0.1", "10.0.0.2"]}

    async def resolve(host: str, port: int) -> list[str]:
        if host not in addresses:
            raise OSError("no such name")
        return addresses[host]

    found: list[Mapping[str, About]] = []
    discovery = DnsDiscovery(resolve)
    await discovery.look_up(["http://product:8000"], found.append)
    addresses["product"] = ["10.0.0.2", "fd00::1"]
    await discovery.look_up(["http://product:8000"], found.append)
    addresses.clear()
    await discovery.look_up(["http://product:8000"], found.append)
    assert [set(one) for one in found] == [
        {"http://10.0.0.1:8000", "http://10.0.0.2:8000"},
        {"http://10.0.0.2:8000", "http://[fd00::1]:8000"},
    ]
