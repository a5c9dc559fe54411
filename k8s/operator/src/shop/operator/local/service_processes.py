"""The processes of a local shop's services: those that it starts with, and those that come, go or change later."""

import asyncio
import itertools
import os
from collections.abc import Coroutine, Iterable, Mapping, Sequence

from shop.operator.local import assembly, monitoring
from shop.operator.local.component import Component
from shop.operator.local.data_dir import DataDir
from shop.operator.local.instances import CONTROL_ROOM, Instance, Wiring, environment, replica_counts
from shop.operator.local.prefork_client import PreforkServer
from shop.operator.local.supervisor import Supervisor
from shop.operator.resource.spec import ShopSpec
from shop.operator.services import CALLS, SINGLE_PROCESS_LOCALLY

NEEDED_BY_ALL = ("user", CONTROL_ROOM)
"""Services whose addresses every process has: of the keys of tokens, and of the collector of spans."""
REPLACED_IN_PLACE = frozenset({*SINGLE_PROCESS_LOCALLY, CONTROL_ROOM})
"""Services of which there is never a second process."""


class ServiceProcesses:
    """Every process finds the others by the registry; the addresses in its environment are those of its start."""

    def __init__(
        self,
        data: DataDir,
        spec: ShopSpec,
        wires: Wiring,
        instances: list[Instance],
        supervisor: Supervisor,
        prefork: PreforkServer | None,
    ) -> None:
        self._data = data
        self._spec = spec
        self.wires = wires
        self._instances = instances
        self._supervisor = supervisor
        self._prefork = prefork
        self._changing = asyncio.Lock()
        self._settings: dict[str, dict[str, str]] = {}
        """By process, the settings with which it was started."""

    def environment(self, instance: Instance) -> dict[str, str]:
        return environment(instance, self._spec, self.wires, self._instances, os.environ)

    def first(self, noun: str) -> Instance:
        return next(one for one in self._instances if one.noun == noun)

    def count(self, noun: str) -> int:
        return sum(one.noun == noun for one in self._instances)

    def components(self) -> list[Component]:
        """The processes of all instances, registered with the supervisor."""
        return [self._component(one) for one in self._instances]

    def _component(self, instance: Instance) -> Component:
        self._settings[instance.name] = self._settings_of(instance)
        env = self.environment(instance)
        return self._supervisor.add(assembly.service_component(instance, env, self._prefork, self._data))

    def _settings_of(self, instance: Instance) -> dict[str, str]:
        """What the process is started with, however many processes there are of the services that it calls."""
        used = {instance.noun, *CALLS[instance.noun], *NEEDED_BY_ALL}
        firsts = {one.noun: one for one in reversed(self._instances) if one.noun in used}
        return environment(instance, self._spec, self.wires, list(firsts.values()), os.environ)

    async def scale(self, noun: str, count: int) -> list[str]:
        """Have ``count`` processes of a service, and return their names once all are ready.

        Those with the highest numbers are removed; each finishes the requests that it has.
        """
        replica_counts(self._spec, {noun: count}, "scale")
        async with self._changing:
            await self._scale(noun, count)
            monitoring.write_targets(self._data, self._supervisor.components)
        return [one.name for one in self._supervisor.components if one.noun == noun]

    async def _scale(self, noun: str, count: int) -> None:
        present = sorted((one for one in self._instances if one.noun == noun), key=lambda one: one.number)
        await self._remove(present[count:])
        kept = {one.name for one in present[:count]} | {one.name for one in self._spares(noun)}
        free = (number for number in itertools.count(1) if f"{noun}-{number}" not in kept)
        await self._add([(noun, next(free)) for _ in range(count - len(present))])

    def _spares(self, noun: str) -> list[Component]:
        """Processes that serve since a change failed, instead of those that did not start with their new settings."""
        names = {one.name for one in self._instances}
        return [one for one in self._supervisor.components if one.noun == noun and one.name not in names]

    async def change(self, spec: ShopSpec, wires: Wiring, counts: Mapping[str, int]) -> list[str]:
        """Run what another ``spec`` says, with ``counts`` processes by service; returns the services that changed.

        New services are ready before others use them, and services are ended after others have stopped using them.
        After a failure the next change takes up what is left to do.
        """
        async with self._changing:
            self._spec, self.wires = spec, wires
            ending = [one for one in self._instances if one.noun not in counts]
            added = [noun for noun in counts if not self.count(noun)]
            await self._add([(noun, number) for noun in added for number in range(1, counts[noun] + 1)])
            self._instances[:] = [one for one in self._instances if one not in ending]
            try:
                replaced = [noun for noun in counts if noun not in added and self._differs(noun)]
                await _every(self._replace(noun) for noun in replaced)
            finally:
                self._instances += ending
            await self._remove(ending)
            scaled = [noun for noun, count in counts.items() if count != self.count(noun)]
            for noun in scaled:
                await self._scale(noun, counts[noun])
            monitoring.write_targets(self._data, self._supervisor.components)
        return sorted({*added, *replaced, *scaled, *(one.noun for one in ending)})

    def _differs(self, noun: str) -> bool:
        """Whether a process of the service runs with other settings than it would be started with."""
        own = [one for one in self._instances if one.noun == noun]
        return any(self._settings.get(one.name) != self._settings_of(one) for one in own)

    async def _replace(self, noun: str) -> None:
        """Start the service's processes again; another one serves meanwhile, where there may be one, and goes on if
        they do not start."""
        present = [one for one in self._instances if one.noun == noun]
        if noun in REPLACED_IN_PLACE:
            await self._again(present)
            return
        before = self._spares(noun)
        highest = max(int(one.name.rpartition("-")[2]) for one in (*before, *self._of(present)))
        component = self._component(assembly.instance(self._data, noun, highest + 1))
        try:
            await self._supervisor.start([component])
        except BaseException:
            await self._drop([component])
            raise
        await self._drop(before)
        await self._again(present)
        await self._drop([component])

    async def _again(self, instances: Sequence[Instance]) -> None:
        await self._drop(self._of(instances))
        components = [self._component(one) for one in instances]
        try:
            await self._supervisor.start(components)
        except BaseException:
            for component in components:
                self._settings.pop(component.name)
            raise

    async def _add(self, numbered: Iterable[tuple[str, int]]) -> None:
        added = [assembly.instance(self._data, noun, number) for noun, number in numbered]
        self._instances += added
        try:
            await self._supervisor.start([self._component(one) for one in added])
        except BaseException:
            await self._remove(added)
            raise

    async def _remove(self, instances: Sequence[Instance]) -> None:
        await self._drop(self._of(instances))
        self._instances[:] = [one for one in self._instances if one not in instances]
        for noun in {one.noun for one in instances if not self.count(one.noun)}:
            await self._drop(self._spares(noun))

    def _of(self, instances: Sequence[Instance]) -> list[Component]:
        names = {one.name for one in instances}
        return [one for one in self._supervisor.components if one.name in names]

    async def _drop(self, components: Sequence[Component]) -> None:
        await self._supervisor.stop(components)
        for component in components:
            self._supervisor.remove(component)
            self._settings.pop(component.name, None)


async def _every(work: Iterable[Coroutine[None, None, None]]) -> None:
    """All at once, each to its end; then the first failure is raised."""
    for failure in await asyncio.gather(*work, return_exceptions=True):
        if failure is not None:
            raise failure
