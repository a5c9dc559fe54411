"""What the control room has: kept spans, the logs of the local shop, and clients of the services that it asks."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from shop.kit.app import Context
from shop.kit.discovery.interface import Discovery
from shop.kit.http import Clients
from shop.ops.backends import Backends
from shop.ops.calls import Calls
from shop.ops.instances import Directory
from shop.ops.internal import Internal
from shop.ops.levers import Levers
from shop.ops.logs import Line, LogFolder, Wanted
from shop.ops.services import ABOUT, CONSUMES
from shop.ops.settings import Settings
from shop.ops.span_store import SpanRepository
from shop.ops.supervisor import Supervisor
from shop.ops.watch import Watch

CONSUMING = tuple(noun for noun, publishers in CONSUMES.items() if publishers)
LETTER = ("consumer", "event_id", "type", "error", "failures", "dead_at")


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An event that a consumer of a service gave up; ``error`` is the type of what went wrong."""

    noun: str
    consumer: str
    event_id: str
    type: str
    error: str
    failures: str
    dead_at: str


class ControlRoom:
    """``logs`` and ``levers`` are None in a cluster."""

    def __init__(self, settings: Settings, spans: SpanRepository, clients: Clients, discovery: Discovery) -> None:
        self.settings = settings
        self.backends = Backends(clients, settings)
        self.spans = spans
        folder = settings.local_data_dir
        self.logs = LogFolder(folder / "logs") if folder else None
        supervisor = Supervisor(folder) if folder else None
        self.levers = Levers(supervisor) if supervisor else None
        self.services = [noun for noun in ABOUT if settings.urls(noun)]
        directory = Directory(discovery, {noun: settings.urls(noun) for noun in self.services}, supervisor)
        self.watch = Watch(directory.all)
        self._internal = Internal(directory, settings.internal_token)
        self.calls = Calls(self._internal)

    @classmethod
    def build(cls, context: Context) -> ControlRoom:
        settings: Settings = context.settings
        keep_s = settings.traces_minutes * 60
        spans = SpanRepository.open(settings.traces_file, keep_s, settings.traces_bytes)
        room = cls(settings, spans, context.clients, context.discovery)
        context.tasks.start("watch", room.watch.run)
        return room

    async def close(self) -> None:
        if self.levers is not None:
            await self.levers.close()
        await self.watch.close()
        await self.spans.close()

    async def log_lines(self, wanted: Wanted, services: Sequence[str] = (), instance: str = "") -> list[Line]:
        """Of all instances of these services, or of one; none in a cluster."""
        if self.logs is None:
            return []
        known = self.logs.instances(services)
        chosen = [name for name in known if not instance or name == instance]
        return await asyncio.to_thread(self.logs.lines, chosen, wanted)

    def instances_of(self, noun: str) -> list[str]:
        """The instances of a service that have a log."""
        return self.logs.instances([noun]) if self.logs else []

    def log_link(self, noun: str) -> str:
        """Where the service's log lines are collected; empty where no such place is set."""
        return self.settings.log_link.replace("{service}", noun)

    async def dead_letters(self) -> list[DeadLetter]:
        """Of every service that answers; one that does not has none to show."""
        found = await asyncio.gather(*(self._internal.any("GET", noun, "/internal/dead-letters") for noun in CONSUMING))
        pairs = ((noun, one) for noun, letters in zip(CONSUMING, found, strict=True) for one in letters or ())
        return [DeadLetter(noun, **{name: str(one.get(name, "")) for name in LETTER}) for noun, one in pairs]

    async def replay(self, noun: str) -> dict[str, int] | None:
        """Let a service process its dead letters again; how many took effect or failed, None without an answer."""
        found: dict[str, int] | None = await self._internal.any("POST", noun, "/internal/dead-letters/replay")
        return found

    async def settings_of(self, noun: str) -> dict[str, str]:
        """The settings of one of the service's instances, secrets hidden; empty when it does not say."""
        return dict(await self._internal.any("GET", noun, "/internal/settings") or {})
