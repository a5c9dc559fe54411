"""The processes of a local shop's services: those that it starts with, and those that are added or removed later."""

import asyncio
import os

from shop.operator.local import assembly, monitoring
from shop.operator.local.component import Component
from shop.operator.local.data_dir import DataDir
from shop.operator.local.instances import Instance, Wiring, environment, replica_counts
from shop.operator.local.prefork_client import PreforkServer
from shop.operator.local.supervisor import Supervisor
from shop.operator.resource.spec import ShopSpec


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
        self._wires = wires
        self._instances = instances
        self._supervisor = supervisor
        self._prefork = prefork
        self._scaling = asyncio.Lock()

    def environment(self, instance: Instance) -> dict[str, str]:
        return environment(instance, self._spec, self._wires, self._instances, os.environ)

    def first(self, noun: str) -> Instance:
        return next(one for one in self._instances if one.noun == noun)

    def components(self) -> list[Component]:
        """The processes of all instances, registered with the supervisor."""
        return [self._component(one) for one in self._instances]

    def _component(self, instance: Instance) -> Component:
        env = self.environment(instance)
        return self._supervisor.add(assembly.service_component(instance, env, self._prefork, self._data))

    async def scale(self, noun: str, count: int) -> list[str]:
        """Have ``count`` processes of a service, and return their names once all are ready.

        Those with the highest numbers are removed; each finishes the requests that it has.
        """
        replica_counts(self._spec, {noun: count}, "scale")
        async with self._scaling:
            present = sorted((one for one in self._instances if one.noun == noun), key=lambda one: one.number)
            await self._remove(present[count:])
            taken = {one.number for one in present[:count]}
            await self._add(noun, [number for number in range(1, count + 1) if number not in taken])
            monitoring.write_targets(self._data, self._supervisor.components)
        return [one.name for one in self._supervisor.components if one.noun == noun]

    async def _add(self, noun: str, numbers: list[int]) -> None:
        added = [assembly.instance(self._data, noun, number) for number in numbers]
        self._instances += added
        components = [self._component(one) for one in added]
        try:
            await self._supervisor.start(components)
        except BaseException:
            await self._drop(components)
            raise

    async def _remove(self, instances: list[Instance]) -> None:
        names = {one.name for one in instances}
        await self._drop([one for one in self._supervisor.components if one.name in names])

    async def _drop(self, components: list[Component]) -> None:
        await self._supervisor.stop(components)
        for component in components:
            self._supervisor.remove(component)
        names = {one.name for one in components}
        self._instances[:] = [one for one in self._instances if one.name not in names]
