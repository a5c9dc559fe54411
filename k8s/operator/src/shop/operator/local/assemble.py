"""Turn a plan into components: three stores and the processes of the services."""

import os
import sys
from collections.abc import Sequence

from shop.kit.embedded import NatsStore, PostgresStore, Store, ValkeyStore
from shop.kit.processes import launch
from shop.operator.local import probes
from shop.operator.local.component import Component
from shop.operator.local.layout import ADMIN_EMAIL, DataDir
from shop.operator.local.plan import WITH_DATABASE, Instance, Wiring, environment
from shop.operator.spec import ShopSpec

HOST = "127.0.0.1"
STORE_STOP_TIMEOUT_S = 15.0
SERVICE_STOP_TIMEOUT_S = 8.0
MAILBOX = "mailbox"


class Stores:
    """The three stores, each in its folder, on a port that stays the same while the shop runs."""

    def __init__(self, data: DataDir) -> None:
        self.postgres = PostgresStore(data.store("postgres"))
        self.nats = NatsStore(data.store("nats"))
        self.valkey = ValkeyStore(data.store("valkey"))

    def all(self) -> list[Store]:
        return [self.postgres, self.nats, self.valkey]

    def components(self) -> list[Component]:
        return [_store_component(store) for store in self.all()]


def _store_component(store: Store) -> Component:
    # The port is settled before anybody is told of it, and kept over restarts.
    store.reserve_port()

    async def ready(pid: int) -> bool:
        return store.is_ready(pid)

    return Component(
        name=store.name,
        kind="store",
        port=store.port,
        log=store.log,
        spawn=store.spawn,
        ready=ready,
        prepare=store.prepare,
        stop_signal=store.stop_signal,
        stop_timeout_s=STORE_STOP_TIMEOUT_S,
    )


def instances(data: DataDir, counts: dict[str, int], public_port: int) -> list[Instance]:
    """Every process of every service with its port; the gateway has the public one."""
    return [
        Instance(noun, number, public_port if noun == "gateway" else data.port(f"{noun}-{number}"))
        for noun, count in counts.items()
        for number in range(1, count + 1)
    ]


def wiring(data: DataDir, stores: Stores, public_port: int) -> Wiring:
    """Addresses and secrets; those that do not exist yet are made."""
    return Wiring(
        nats_url=stores.nats.url,
        valkey_url=stores.valkey.url,
        internal_token=data.internal_token(),
        admin_email=ADMIN_EMAIL,
        admin_password=data.admin_password(),
        mailbox_port=data.port(MAILBOX),
        public_url=f"http://localhost:{public_port}",
        database_urls={noun: database_url(data, stores.postgres, noun) for noun in WITH_DATABASE},
    )


def database_url(data: DataDir, postgres: PostgresStore, noun: str) -> str:
    """The URL by which the service `noun` reaches its own database."""
    role = f"shop_{noun}"
    return postgres.url_for(role, data.database_password(role), role)


def service_component(
    instance: Instance, spec: ShopSpec, wires: Wiring, everyone: Sequence[Instance], data: DataDir
) -> Component:
    """One process of a service, logging to `logs/<noun>-<number>.log`."""
    log = data.logs / f"{instance.name}.log"
    env = environment(instance, spec, wires, everyone, os.environ)
    program = [sys.executable, "-m", "shop.kit.serve", instance.noun, "--host", HOST, "--port", str(instance.port)]

    async def ready(pid: int) -> bool:
        return await probes.is_ready(instance.port)

    return Component(
        name=instance.name,
        kind="service",
        port=instance.port,
        log=log,
        spawn=lambda: launch(program, env=env, log=log, cwd=data.path),
        ready=ready,
        stop_timeout_s=SERVICE_STOP_TIMEOUT_S,
    )
