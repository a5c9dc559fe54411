"""One local shop from start to shutdown: stores, databases, services, catalogue."""

import asyncio
import contextlib
import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from shop.devkit.processes import port_is_free, write_private
from shop.operator.errors import ShopctlError
from shop.operator.local import (
    assembly,
    audit_process,
    change,
    collector,
    control_room,
    log_levels,
    monitoring,
    probes,
    stale_processes,
)
from shop.operator.local.component import Component, State
from shop.operator.local.control import ControlServer
from shop.operator.local.data_dir import ADMIN_EMAIL, DataDir
from shop.operator.local.instances import CONTROL_ROOM, check_provider, grpc_addresses, ignored, replica_counts
from shop.operator.local.log_files import rotate
from shop.operator.local.prefork_client import PreforkServer, reap_orphans
from shop.operator.local.preparation import Preparation, databases_helper
from shop.operator.local.service_processes import ServiceProcesses
from shop.operator.local.store_restarts import StoreRestarter
from shop.operator.local.supervisor import Supervisor
from shop.operator.resource import shopfile
from shop.operator.resource.spec import Shop
from shop.operator.services import EDGE

SELLING_TIMEOUT_S = 60.0
SELLING_POLL_S = 0.05
ROTATE_EVERY_S = 15.0
STATE_PAUSE_S = 0.1
UNDER_WAY = frozenset({State.PREPARING, State.STARTING, State.RESTARTING, State.STOPPING})
STORE_ALIASES = {"database": "postgres", "broker": "nats", "cache": "valkey", "redis": "valkey"}


@dataclass(frozen=True)
class Options:
    """The options of `shopctl up`."""

    shop: Shop
    data_dir: Path
    port: int = 8080
    replicas: Mapping[str, int] = field(default_factory=dict)
    restore_from: Path | None = None
    shop_yaml: bytes | None = None
    """The Shop's file; stored, so that the next start needs no file."""
    observe: bool = False
    """With a Prometheus beside it."""


class LocalShop:
    """Runs one shop in one data folder. `say` prints a line, `show` gets a snapshot on every change."""

    def __init__(
        self,
        options: Options,
        say: Callable[[str], None],
        show: Callable[[dict[str, Any]], None],
        server: subprocess.Popen[bytes] | None = None,
    ) -> None:
        """``server`` is that of `prefork_client.forked_server`."""
        self.options = options
        self.data = DataDir(options.data_dir)
        self.first_start = False
        self._say = say
        self._show = show
        self._phase = "starting"
        self._changed = asyncio.Event()
        self._stop = asyncio.Event()
        self._supervisor = Supervisor(say, self._on_change, self.data.command("down --delete-data"))
        self._prefork = self._prefork_server(server) if PreforkServer.supported() else None
        self._preparation = Preparation(self.data, self._prefork, self._on_change)
        self._stores = assembly.Stores(self.data)
        self._changing = asyncio.Lock()
        self._control: dict[str, Any] = {}
        self._processes: ServiceProcesses | None = None

    def _prefork_server(self, process: subprocess.Popen[bytes] | None) -> PreforkServer:
        shop = self.options.shop
        log, modules, store = self.data.logs / "prefork.log", control_room.preloaded(shop), shop.spec.store
        return PreforkServer(log, modules, process, country=store.country, language=store.language or "")

    @property
    def url(self) -> str:
        return f"http://localhost:{self.options.port}"

    @property
    def grpc_addresses(self) -> dict[str, list[str]]:
        """By service; of those that have a gRPC server."""
        return grpc_addresses([one.snapshot() for one in self._supervisor.components])

    @property
    def pages(self) -> dict[str, str]:
        """Addresses of the web pages of what runs beside the shop, by component."""
        room = {"control room": f"{self.url}/ops"} if control_room.runs_in(self.options.shop) else {}
        return room | {one.name: one.page for one in self._supervisor.components if one.page}

    def request_stop(self) -> None:
        """End the shop; a second request does not wait for anything."""
        if self._stop.is_set():
            for component in self._supervisor.components:
                if component.process is not None and component.process.poll() is None:
                    component.process.kill()
        self._stop.set()

    async def run(self, selling: Callable[[], None], claimed: Callable[[], None] = lambda: None) -> None:
        """Start, and return when asked to end; raises `ShopctlError`.

        `claimed` is called once the data folder is this shop's, `selling` once a product can be bought.
        """
        spec = self.options.shop.spec
        check_provider(os.environ)
        counts = replica_counts(spec, self.options.replicas)
        self.first_start = self.data.claim(self.options.shop.metadata.name, spec.store.currency)
        try:
            if self.options.shop_yaml is not None:
                write_private(self.data.shop_file, self.options.shop_yaml.decode())
            claimed()
            ended = stale_processes.end(self.data.read_state().get("processes", []))
            if ended:
                self._say(f"ended {len(ended)} processes of an earlier run")
            if not port_is_free(self.options.port):
                raise ShopctlError(f"port {self.options.port} is in use; choose another one with --port")
            for line in ignored(spec, self.data.command):
                self._say(line)
            shop = await collector.left_out_if_unknown(self.options.shop, self._say)
            self.options = replace(self.options, shop=shop)
            await self._serve(counts, selling)
        finally:
            self.data.release()

    async def _serve(self, counts: dict[str, int], selling: Callable[[], None]) -> None:
        token = self.data.internal_token()
        server = ControlServer(token, self._command, self._waited_for)
        self._control = {"port": await server.start(), "token": token}
        loops = (self._write_states, self._rotate_logs, StoreRestarter(self._supervisor).run)
        background = [asyncio.create_task(loop()) for loop in loops]
        try:
            await self._until_stopped(self._start(counts))
            if not self._stop.is_set():
                self._phase = "selling"
                self._on_change()
                selling()
                background.append(asyncio.create_task(control_room.start(self._supervisor, self._say)))
                await self._stop.wait()
        finally:
            self._phase = "stopping"
            await self._end()
            await server.close()
            for task in background:
                task.cancel()
            self._phase = "stopped"
            self._write_state()

    async def _until_stopped(self, work: Any) -> None:
        task, stop = asyncio.ensure_future(work), asyncio.ensure_future(self._stop.wait())
        await asyncio.wait({task, stop}, return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        if not task.done():
            task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    async def _start(self, counts: dict[str, int]) -> None:
        if self._prefork is not None:
            self._prefork.start()
        store_components = [self._supervisor.add(component) for component in self._stores.components()]
        everyone = assembly.instances(self.data, counts, self.options.port)
        wires = assembly.wiring(self.data, self._stores, counts, self.options.port)
        spec = self.options.shop.spec
        running = ServiceProcesses(self.data, spec, wires, everyone, self._supervisor, self._prefork)
        self._processes, services = running, running.components()
        monitoring.write_targets(self.data, services)
        observers = [self._supervisor.add(one) for one in self._observers()]
        async with databases_helper() as helper:
            await self._supervisor.start(store_components)
            await self._preparation.databases(
                helper, self._stores.postgres.url, wires.database_urls, self.options.restore_from
            )
        catalogue = self._preparation.catalogue(spec.store.catalog, running.environment(running.first("product")))
        await _all([self._supervisor.start(control_room.without(services)), catalogue])
        await self._wait_until_selling()
        # Once everything answers, so that no start looks like a failure in their data.
        if observers:
            await control_room.start(self._supervisor, self._say)
        await self._supervisor.start(observers)

    def _observers(self) -> list[Component]:
        if not self.options.observe:
            return []
        prometheus = monitoring.component(self.data)
        return [prometheus, monitoring.dashboards(self.data, prometheus)]

    async def _wait_until_selling(self) -> None:
        """Wait until a product can be read through the gateway (a shop without catalogue: until it answers)."""
        deadline = time.monotonic() + SELLING_TIMEOUT_S
        needs_product = self.options.shop.spec.store.catalog is not None
        while time.monotonic() < deadline:
            status, _ = await probes.get(self.options.port, "/api/v1/products?limit=1")
            if status == 200 and (not needs_product or await probes.first_product(self.options.port)):
                return
            await asyncio.sleep(SELLING_POLL_S)
        raise ShopctlError(
            f"the gateway lists no product after {SELLING_TIMEOUT_S:g} s; see {self.data.command('logs gateway')}"
        )

    async def _end(self) -> None:
        """Who observes first, for an end is no failure; gateway and storefront before the other services, so that no
        new request begins; the stores last."""
        components = self._supervisor.components
        fronts = [one for one in components if one.noun in EDGE]
        services = [one for one in components if one.kind == "service" and one not in fronts]
        others = {kind: [one for one in components if one.kind == kind] for kind in ("monitoring", "store")}
        for group in (others["monitoring"], fronts, services, others["store"]):
            await self._supervisor.stop(group)
        monitoring.forget_targets(self.data)
        if self._prefork is not None:
            self._prefork.stop()

    def _waited_for(self) -> str:
        """In words, for who waits for the answer to a command; empty when nothing changes."""
        under_way = [
            f"{one['name']} {one['state']}"
            for one in (*self._preparation.snapshot(), *(each.snapshot() for each in self._supervisor.components))
            if one["state"] in UNDER_WAY
        ]
        return ", ".join(under_way)

    async def _command(self, request: Mapping[str, Any]) -> dict[str, Any]:
        match request.get("command"):
            case "status":
                return await self._status()
            case "shutdown":
                self.request_stop()
                return {"ok": True}
            case "log-level":
                chosen = self._chosen(request)
                log_levels.choose(chosen, str(request.get("level")))
                return {"components": [one.name for one in chosen]}
            case "stop" | "start" | "restart" as command:
                async with self._changing:
                    return await self._change(command, self._chosen(request))
            case "scale":
                async with self._changing:
                    return await self._scale(str(request.get("service")), int(request.get("count", 0)))
            case "apply":
                async with self._changing:
                    return await self._apply(str(request.get("shop")))
            case "audit":
                return await audit_process.run(self.data.path)
        raise ShopctlError(f"unknown command {request.get('command')!r}")

    async def _change(
        self, command: Literal["stop", "start", "restart"], chosen: Sequence[Component]
    ) -> dict[str, Any]:
        """Do it to the components; the answer names them."""
        changes = {
            "stop": (self._supervisor.stop, "stopped"),
            "start": (self._supervisor.start, "started"),
            "restart": (self._restart, "restarted"),
        }
        change_them, done = changes[command]
        await change_them(chosen)
        names = [one.name for one in chosen]
        self._say(f"{done} on request: {', '.join(names)}")
        return {"components": names}

    async def _restart(self, chosen: Sequence[Component]) -> None:
        """One after the other, each once the one before is ready: a service with several processes stays available."""
        for one in chosen:
            await self._supervisor.stop([one])
            await self._supervisor.start([one])

    def _running(self) -> ServiceProcesses:
        if self._processes is None or self._phase != "selling":
            raise ShopctlError(f"the shop is {self._phase}: change it once it sells")
        return self._processes

    async def _apply(self, text: str) -> dict[str, Any]:
        """Run as the Shop in ``text`` says from now on. The control room is there or not as before."""
        running, options = self._running(), self.options
        shop = shopfile.parse(text.encode(), "the Shop")
        shop = shop.with_module(CONTROL_ROOM, on=control_room.runs_in(options.shop))
        self.data.refuse_other_shop(shop.metadata.name, shop.spec.store.currency)
        for line in ignored(shop.spec, self.data.command):
            self._say(line)
        shop = await collector.left_out_if_unknown(shop, self._say)
        counts = change.counts(options.shop.spec, shop.spec, options.replicas, running.count)
        wires = assembly.rewired(running.wires, self.data, self._stores, counts)
        if added := {noun: url for noun, url in wires.database_urls.items() if not running.count(noun)}:
            async with databases_helper() as helper:
                await self._preparation.databases(helper, self._stores.postgres.url, added)
        changed = await running.change(shop.spec, wires, counts)
        self.options = replace(options, shop=shop)
        write_private(self.data.shop_file, text)
        await self._preparation.catalogue(shop.spec.store.catalog, running.environment(running.first("product")))
        self._write_state()
        self._say(f"applied on request: {', '.join(changed) or 'nothing changed'}")
        return {"services": changed}

    async def _scale(self, noun: str, count: int) -> dict[str, Any]:
        names = await self._running().scale(noun, count)
        self._write_state()
        self._say(f"scaled on request: {', '.join(names)}")
        return {"components": names}

    def _chosen(self, request: Mapping[str, Any]) -> list[Component]:
        name = str(request.get("component"))
        name = STORE_ALIASES.get(name, name)
        chosen = [one for one in self._supervisor.components if name in (one.name, one.noun)]
        if not chosen:
            nouns = dict.fromkeys(one.noun for one in self._supervisor.components)
            raise ShopctlError(f"no component {name}; there are {', '.join(nouns)}")
        return chosen

    async def _status(self) -> dict[str, Any]:
        """A snapshot with the health as checked now."""
        names = [one.name for one in self._supervisor.components]
        looks = await asyncio.gather(*(_health(one) for one in self._supervisor.components))
        found, snapshot = dict(zip(names, looks, strict=True)), self._snapshot()
        for shown in snapshot["components"]:
            # One that came meanwhile is seen with the next look.
            healthy, detail = found.get(shown["name"], (False, ""))
            shown |= {"healthy": healthy, "detail": detail or shown["detail"]}
        return snapshot

    def _snapshot(self) -> dict[str, Any]:
        return {
            "phase": self._phase,
            "url": self.url,
            "data_dir": str(self.data.path),
            "admin": {"email": ADMIN_EMAIL, "password_file": str(self.data.admin_password_file)},
            "supervisor": {"pid": os.getpid(), "prefork_pid": self._prefork.pid if self._prefork else None},
            "components": [one.snapshot() for one in self._supervisor.components],
            "steps": self._preparation.snapshot(),
        }

    def _on_change(self) -> None:
        self._changed.set()

    async def _write_states(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            self._write_state()
            await asyncio.sleep(STATE_PAUSE_S)

    def _write_state(self) -> None:
        """At once where an answer says what runs: the audit, for one, reads it from the file."""
        snapshot = self._snapshot()
        self._show(snapshot)
        pids = [one["pid"] for one in snapshot["components"] if one["pid"]]
        processes = [found for pid in pids if (found := stale_processes.identity(pid))]
        self.data.write_state({**snapshot, "processes": processes, "control": self._control})

    async def _rotate_logs(self) -> None:
        while True:
            await asyncio.sleep(ROTATE_EVERY_S)
            for component in self._supervisor.components:
                rotate(component.log)
            if self._phase == "selling":
                own = {one.process.pid for one in self._supervisor.components if one.process is not None}
                server = self._prefork.pid if self._prefork is not None else None
                reap_orphans(own if server is None else own | {server})


async def _health(component: Component) -> tuple[bool, str]:
    """Whether a component works, and what is wrong with it, as checked now."""
    if component.pid is None or component.state is not State.READY:
        return False, ""
    if component.kind == "service":
        return await probes.health(component.port)
    trouble = await asyncio.to_thread(component.trouble) if component.trouble else ""
    return not trouble and await component.ready(component.pid), trouble


async def _all(work: Sequence[Any]) -> None:
    """All at once; the first failure ends the others and is raised as itself."""
    try:
        async with asyncio.TaskGroup() as group:
            for one in work:
                group.create_task(one)
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
