"""Logs of a Shop's pods, each line with the pod that wrote it."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from shop.operator.cluster.session import Session, refusal
from shop.operator.console import note, write
from shop.operator.errors import ShopctlError
from shop.operator.kube.api_errors import ApiError, Unreachable
from shop.operator.kube.client import Request, path_of
from shop.operator.kube.kinds import POD
from shop.operator.kube.objects import NOUN_LABEL, SHOP_LABEL, Object
from shop.operator.program import shopctl

MAX_SOURCES = 64
"""Containers followed at once; each is a connection to the API server."""
MAX_BYTES = 1 << 20
"""Of one container's log when it is not followed."""
RELIST_S = 2.0
"""How often new pods are looked for while logs are followed."""


@dataclass(frozen=True, slots=True)
class Source:
    """One container."""

    pod: str
    container: str
    is_init: bool

    @property
    def prefix(self) -> str:
        return f"{self.pod}/{self.container}" if self.is_init else self.pod


def sources(pods: Sequence[Object], *, running: bool = False) -> list[Source]:
    """Containers that have run, or that run now; init containers only while the pod is being initialised."""
    found = []
    for pod in sorted(pods, key=lambda pod: str(pod["metadata"]["name"])):
        status = pod.get("status", {})
        main, first = status.get("containerStatuses", []), status.get("initContainerStatuses", [])
        preparing = first if not any(_has_run(one) for one in main) else []
        found += [Source(pod["metadata"]["name"], one["name"], True) for one in preparing if _shows(one, running)]
        found += [Source(pod["metadata"]["name"], one["name"], False) for one in main if _shows(one, running)]
    return found


def _shows(container: Object, running: bool) -> bool:
    return "running" in container.get("state", {}) if running else _has_run(container)


def _has_run(container: Object) -> bool:
    state, before = container.get("state", {}), container.get("lastState", {})
    return "running" in state or "terminated" in state or "terminated" in before


async def pods_of(session: Session, name: str, service: str | None) -> list[Object]:
    """The Shop's pods, or those of one service; without a service, what has ended well is left out.

    ShopctlError names the services when there is none.
    """
    await session.shop(name)
    found = await session.kube.list(POD, session.namespace, f"{SHOP_LABEL}={name}")
    if service is None:
        return [pod for pod in found if pod.get("status", {}).get("phase") != "Succeeded"]
    kept = [pod for pod in found if _noun(pod) == service]
    if not kept:
        there = ", ".join(sorted({_noun(pod) for pod in found})) or "none"
        raise ShopctlError(f"{name} has no pods of {service}; there are pods of: {there}")
    return kept


def _noun(pod: Object) -> str:
    return str(pod["metadata"].get("labels", {}).get(NOUN_LABEL, ""))


async def show(session: Session, name: str, service: str | None, lines: int) -> None:
    """Print the end of each log, pod after pod."""
    pods = await pods_of(session, name, service)
    found = sources(pods)
    quiet = sorted({pod["metadata"]["name"] for pod in pods} - {source.pod for source in found})
    for source in found:
        await _show(session, source, lines)
    for pod in quiet:
        note(f"{pod}: nothing has run in it yet; `{shopctl()} status {name}` says why")


async def _show(session: Session, source: Source, lines: int) -> None:
    params: dict[str, str | int] = {"container": source.container, "tailLines": lines, "limitBytes": MAX_BYTES}
    try:
        text = await session.kube.send(Request("GET", _path(session, source), params, resource="pods/log"))
    except ApiError as error:
        note(f"{source.prefix}: {refusal(error)}")
        return
    for line in text.decode(errors="replace").splitlines():
        write(f"{source.prefix}: {line}")


def _path(session: Session, source: Source) -> str:
    return path_of(POD, session.namespace, source.pod, "log")


async def follow(session: Session, name: str, service: str | None, lines: int) -> None:
    """Print new lines until interrupted; new pods and restarted containers are followed as well."""
    try:
        await _Follower(session, name, service, lines, write).run()
    except* (ApiError, ShopctlError, OSError) as group:  # such as a reader of the output that has gone
        raise group.exceptions[0] from None


class _Follower:
    def __init__(
        self, session: Session, name: str, service: str | None, lines: int, write_line: Callable[[str], None]
    ) -> None:
        self._session = session
        self._name = name
        self._service = service
        self._lines = lines
        self._write_line = write_line
        self._reading: dict[Source, asyncio.Task[None]] = {}
        self._read_up_to: dict[Source, str] = {}
        self._noted: set[str] = set()

    async def run(self) -> None:
        first = True
        async with asyncio.TaskGroup() as tasks:
            while True:
                pods = await self._pods(first=first)
                self._follow_new(sources(pods, running=not first), tasks, self._lines if first else None)
                first = False
                await asyncio.sleep(RELIST_S)

    async def _pods(self, *, first: bool) -> list[Object]:
        """A pod of the service must be there at first; later they may come and go, and the server too."""
        try:
            return await pods_of(self._session, self._name, self._service)
        except (ApiError, ShopctlError):
            if first:
                raise
            return []

    def _follow_new(self, found: Sequence[Source], tasks: asyncio.TaskGroup, tail: int | None) -> None:
        self._reading = {source: task for source, task in self._reading.items() if not task.done()}
        for source in found:
            if source in self._reading:
                continue
            if len(self._reading) >= MAX_SOURCES:
                self._note_once(f"following no more than {MAX_SOURCES} logs; name a service to follow fewer")
                return
            self._reading[source] = tasks.create_task(self._read(source, tail))

    def _note_once(self, problem: str) -> None:
        if problem not in self._noted:
            self._noted.add(problem)
            note(problem)

    async def _read(self, source: Source, tail: int | None) -> None:
        """Until the container ends or the connection breaks; the next listing takes it up where it was."""
        since = self._read_up_to.get(source)
        params: dict[str, str | int] = {"container": source.container, "follow": "true", "timestamps": "true"}
        if since is not None:
            params["sinceTime"] = since
        elif tail is not None:
            params["tailLines"] = tail
        try:
            async with aclosing(self._session.kube.stream(_path(self._session, source), params)) as stream:
                async for line in stream:
                    self._line(source, line.decode(errors="replace"))
        except Unreachable:
            return
        except ApiError as error:
            self._note_once(f"{source.prefix}: {refusal(error)}")

    def _line(self, source: Source, line: str) -> None:
        time, _, text = line.partition(" ")
        if time <= self._read_up_to.get(source, ""):
            return
        self._read_up_to[source] = time
        self._write_line(f"{source.prefix}: {text}")
