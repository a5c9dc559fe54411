"""Components of a local shop: three stores and the processes of the services."""

import shutil
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from shop.devkit.embedded import NatsStore, PostgresStore, Store, ValkeyStore
from shop.devkit.processes import PortInUse, launch, port_is_free
from shop.operator.local import probes
from shop.operator.local.component import Component
from shop.operator.local.data_dir import ADMIN_EMAIL, DataDir
from shop.operator.local.instances import HOST, Instance, Wiring, stream_bytes
from shop.operator.local.prefork_client import PreforkServer
from shop.operator.services import WITH_DATABASE, WITH_GRPC

STORE_STOP_TIMEOUT_S = 15.0
SERVICE_STOP_TIMEOUT_S = 8.0


class Stores:
    """The three stores, each in its folder, on a port that stays the same while the shop runs."""

    def __init__(self, data: DataDir) -> None:
        self.postgres = PostgresStore(data.store("postgres"))
        self.nats = NatsStore(data.store("nats"))
        self.valkey = ValkeyStore(data.store("valkey"))

    def all(self) -> list[Store]:
        return [self.postgres, self.nats, self.valkey]

    def components(self) -> list[Component]:
        return [store_component(store) for store in self.all()]


def store_component(store: Store) -> Component:
    # The port is chosen before the services get it, and stays the same over restarts.
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
        trouble=store.write_error if isinstance(store, NatsStore) else None,
        stop_signal=store.stop_signal,
        stop_timeout_s=STORE_STOP_TIMEOUT_S,
    )


def instances(data: DataDir, counts: dict[str, int], public_port: int) -> list[Instance]:
    """Every process of every service with its port; the gateway has the public one."""
    return [
        Instance(noun, number, public_port) if noun == "gateway" else instance(data, noun, number)
        for noun, count in counts.items()
        for number in range(1, count + 1)
    ]


def instance(data: DataDir, noun: str, number: int) -> Instance:
    """One process of a service with ports of its own."""
    grpc_port = data.port(f"{noun}-{number}-grpc") if noun in WITH_GRPC else None
    return Instance(noun, number, data.port(f"{noun}-{number}"), grpc_port)


def wiring(data: DataDir, stores: Stores, nouns: Iterable[str], public_port: int) -> Wiring:
    """Addresses and secrets for the services that run; missing ones are created."""
    databases = [noun for noun in nouns if noun in WITH_DATABASE]
    return Wiring(
        nats_url=stores.nats.url,
        valkey_url=stores.valkey.url,
        internal_token=data.internal_token(),
        admin_email=ADMIN_EMAIL,
        admin_password=data.admin_password(),
        public_url=f"http://localhost:{public_port}",
        data_dir=str(data.path),
        stream_bytes=stream_bytes(_room_bytes(data.store("nats")), str(data.path), len(databases)),
        database_urls={noun: database_url(data, stores.postgres, noun) for noun in databases},
    )


def rewired(wires: Wiring, data: DataDir, stores: Stores, nouns: Iterable[str]) -> Wiring:
    """The same for other services; what the streams may hold stays, or every service would have to start again."""
    urls = {noun: database_url(data, stores.postgres, noun) for noun in nouns if noun in WITH_DATABASE}
    return replace(wires, database_urls=urls)


def _room_bytes(folder: Path) -> int:
    """What is free on the disk of `folder`, which exists, or used by what is in it."""
    held = sum(path.stat().st_size for path in folder.rglob("*.blk"))
    return shutil.disk_usage(folder).free + held


def database_url(data: DataDir, postgres: PostgresStore, noun: str) -> str:
    """The URL by which the service `noun` reaches its own database."""
    role = f"shop_{noun}"
    return postgres.url_for(role, data.database_password(role), role)


def python_program(
    module: str, arguments: Sequence[str], *, env: Mapping[str, str], log: Path, prefork: PreforkServer | None
) -> subprocess.Popen[bytes]:
    """`python -m module arguments...`, logging to `log`; a fork where there is a prefork server."""
    if prefork is None:
        return launch([sys.executable, "-m", module, *arguments], env=env, log=log, cwd=log.parent)
    request = {"module": module, "arguments": list(arguments), "name": log.stem, "env": dict(env), "log": str(log)}
    return prefork.spawn({**request, "cwd": str(log.parent)})


def service_component(
    instance: Instance, env: Mapping[str, str], prefork: PreforkServer | None, data: DataDir
) -> Component:
    """One process of a service, logging to `logs/<noun>-<number>.log`; a fork where there is a prefork server."""
    log = data.logs / f"{instance.name}.log"
    arguments = [instance.noun, "--host", HOST, "--port", str(instance.port)]

    def spawn() -> subprocess.Popen[bytes]:
        # Otherwise the answers of another process would count as this service's.
        for port in filter(None, (instance.port, instance.grpc_port)):
            if not port_is_free(port):
                raise PortInUse(f"port {port} is in use by another process")
        return python_program("shop.kit.serve", arguments, env=env, log=log, prefork=prefork)

    async def ready(pid: int) -> bool:
        return await probes.is_ready(instance.port)

    return Component(
        name=instance.name,
        kind="service",
        port=instance.port,
        grpc_port=instance.grpc_port,
        log=log,
        spawn=spawn,
        ready=ready,
        prepare=prefork.wait_ready if prefork else None,
        stop_timeout_s=SERVICE_STOP_TIMEOUT_S,
    )
