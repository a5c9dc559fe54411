"""What is measured of the operator, one phase after the other, on an API server of its own."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import yaml

from shop.operator.engine.render.renderer import Renderer, find_charts, find_helm
from shop.operator.kube.client import Kube
from shop.operator.kube.kinds import DEPLOYMENT, POD, SHOP, Kind, kind_of
from shop.operator.kube.objects import Object
from shop.operator.resource.spec import Shop
from tests.operator import conftest as definitions
from tests.operator import statuses
from tests.operator.apiserver import ApiServer
from tests.operator.operators import Operator, Operators

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "k8s" / "samples" / "bookshop.yaml"
NAMESPACES = 20
PHASE_LIMIT_S = 3_600
POLL_S = 1.0
SAMPLE_S = 0.1
"""Between looks at the memory: a helm process lives for about half a second."""
ROLE_BINDING = Kind("rbac.authorization.k8s.io/v1", "ClusterRoleBinding", "clusterrolebindings")
TOKEN_S = 4 * 3_600
OPERATOR = "system:serviceaccount:default:operator"
"""As the API server and its audit log call the operator."""
MIB = 1024 * 1024


@dataclass
class Usage:
    """What one process took while the block ran."""

    pid: int
    others: dict[str, int] = field(default_factory=dict)
    """Names and process ids of what shares the cores with it."""
    seconds: float = 0.0
    cpu_s: float = 0.0
    helm_cpu_s: float = 0.0
    peak_mib: float = 0.0
    with_helm_mib: float = 0.0
    """The operator and its helm processes, together at one moment."""
    others_cpu_s: dict[str, float] = field(default_factory=dict)

    @asynccontextmanager
    async def measured(self) -> AsyncIterator[None]:
        process = psutil.Process(self.pid)
        before, others, started = process.cpu_times(), self._others(), time.monotonic()
        sampler = asyncio.create_task(self._sample(process))
        try:
            yield
        finally:
            sampler.cancel()
            after = process.cpu_times()
            self.seconds = time.monotonic() - started
            self.cpu_s = after.user + after.system - before.user - before.system
            self.helm_cpu_s = (
                after.children_user + after.children_system - before.children_user - before.children_system
            )
            self.others_cpu_s = {name: spent - others[name] for name, spent in self._others().items()}

    def _others(self) -> dict[str, float]:
        times = {name: psutil.Process(pid).cpu_times() for name, pid in self.others.items()}
        return {name: spent.user + spent.system for name, spent in times.items()}

    async def _sample(self, process: psutil.Process) -> None:
        while True:
            own = process.memory_info().rss / MIB
            self.peak_mib = max(self.peak_mib, own)
            self.with_helm_mib = max(self.with_helm_mib, own + _of_children_mib(process))
            await asyncio.sleep(SAMPLE_S)

    def figures(self) -> dict[str, float]:
        return {
            "seconds": round(self.seconds, 1),
            "operator_cpu_s": round(self.cpu_s, 1),
            "helm_cpu_s": round(self.helm_cpu_s, 1),
            "operator_peak_mib": round(self.peak_mib),
            "with_helm_peak_mib": round(self.with_helm_mib),
            **{f"{name}_cpu_s": round(spent, 1) for name, spent in self.others_cpu_s.items()},
        }


@dataclass
class Bench:
    """One API server with its Shops."""

    api: Kube
    server: ApiServer
    login: Path
    operators: Operators
    shops: int
    stand_in: int = 0
    """Process id of what makes pods look alive."""
    found: dict[str, Any] = field(default_factory=dict)

    async def raw(self) -> None:
        """The objects of all Shops, as the operator would make them, applied as fast as it goes, and once more."""
        renderer = Renderer(find_helm(), find_charts(), "0.1.0")
        await self._namespaces("shops", NAMESPACES)
        objects = [one for shop in self._resources() for one in await _rendered(renderer, shop)]
        self.note("objects", len(objects))
        for name in ("raw", "raw_unchanged"):
            started = time.monotonic()
            await _all(objects, lambda obj: self.api.apply(kind_of(obj), obj, force=True))
            seconds = time.monotonic() - started
            self.note(name, {"seconds": round(seconds, 1), "objects_per_s": round(len(objects) / seconds)})

    def _resources(self) -> list[Object]:
        return [shop_resource(f"shop-{number}", f"shops-{number % NAMESPACES}", number) for number in range(self.shops)]

    async def create(self) -> Operator:
        await self._namespaces("shops", NAMESPACES)
        await _all(self._resources(), lambda shop: self.api.create(SHOP, shop))
        operator = self._operator()
        usage = self._usage(operator)
        async with usage.measured():
            await self.settled(1, operator)
        objects = await self._objects()
        self.note("objects", objects)
        rates = {
            "objects_per_s": round(objects / usage.seconds),
            "shops_per_min": round(60 * self.shops / usage.seconds),
        }
        self.note("create", {**usage.figures(), **rates})
        return operator

    async def pods(self) -> None:
        """One pod for each pod of the Deployments: the stand-in makes none where all is well."""
        made = 0
        for number in range(NAMESPACES):
            for owner in await self.api.list(DEPLOYMENT, f"shops-{number}"):
                pods = [_pod(owner, replica) for replica in range(statuses.wanted_replicas(owner))]
                await _all(pods, lambda pod: self.api.create(POD, pod))
                made += len(pods)
        self.note("pods", made)

    def _usage(self, operator: Operator) -> Usage:
        others = {"api_server": self.server.pid, "etcd": self.server.etcd_pid, "stand_in": self.stand_in}
        return Usage(operator.pid, others)

    def _operator(self) -> Operator:
        return self.operators.start(self.login, "", namespace="default", lease="bench", resync_s="600")

    async def restart(self, operator: Operator) -> Operator:
        """Kill it; the next must find that nothing is to be done."""
        operator.kill()
        await operator.gone()
        mark = self.server.mark()
        again = self._operator()
        usage = self._usage(again)
        async with usage.measured():
            await until(lambda: self._looked_at(again), "every Shop looked at")
        self.note("restart", {**usage.figures(), "writes": len(self.server.writes(mark, user=OPERATOR))})
        return again

    async def _looked_at(self, operator: Operator) -> bool:
        try:
            return await asyncio.to_thread(operator.metric, "shop_operator_reconcile_seconds_count") >= self.shops
        except OSError:
            return False

    async def update(self, operator: Operator) -> None:
        """One setting of one service of every Shop."""
        names = [(f"shops-{number % NAMESPACES}", f"shop-{number}") for number in range(self.shops)]
        usage = self._usage(operator)
        patch = {"spec": {"services": {"order": {"logLevel": "WARNING"}}}}
        async with usage.measured():
            await _all(names, lambda place: self.api.patch(SHOP, place[0], place[1], patch))
            await self.settled(2, operator)
        self.note("update", usage.figures())

    async def resync(self, operator: Operator) -> None:
        """Once through all Shops with nothing to do."""
        operator.kill()
        await operator.gone()
        again = self.operators.start(self.login, "", namespace="default", lease="bench", resync_s="30")
        await until(lambda: self._looked_at(again), "every Shop looked at")
        mark, usage = self.server.mark(), self._usage(again)
        before = again.metric("shop_operator_resyncs_total")

        async def through() -> bool:
            return await asyncio.to_thread(again.metric, "shop_operator_resyncs_total") > before

        async with usage.measured():
            await until(through, "a resync")
        writes = self.server.writes(mark, user=OPERATOR)
        self.note("resync", {**usage.figures(), "writes": len(writes)})

    async def settled(self, revision: int, operator: Operator) -> None:
        """Asks the operator first: listing a thousand Shops takes the API server seconds."""

        async def over() -> bool:
            if await asyncio.to_thread(_settled_shops, operator) < self.shops:
                return False
            counts = [await self._ready(f"shops-{number}", revision) for number in range(NAMESPACES)]
            print(f"  {sum(counts)} of {self.shops} ready", file=sys.stderr, flush=True)
            return sum(counts) == self.shops

        await until(over, f"all Shops at revision {revision}", pause_s=2 * POLL_S)

    async def _ready(self, namespace: str, revision: int) -> int:
        shops = await self.api.list(SHOP, namespace)
        return sum(_is_ready(shop) and shop["status"].get("revision") == revision for shop in shops)

    async def _objects(self) -> int:
        total = 0
        for number in range(NAMESPACES):
            total += sum(len(shop["status"]["inventory"]) for shop in await self.api.list(SHOP, f"shops-{number}"))
        return total

    async def _namespaces(self, prefix: str, count: int) -> None:
        for number in range(count):
            body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": f"{prefix}-{number}"}}
            await self.api.create(definitions.NAMESPACE, body)

    def note(self, name: str, value: Any) -> None:
        self.found[name] = value
        print(f"{name}: {json.dumps(value)}", file=sys.stderr, flush=True)


def shop_resource(name: str, namespace: str, number: int) -> Object:
    """The sample, with a title of its own so that no two render the same."""
    resource: Object = yaml.safe_load(SAMPLE.read_text(encoding="utf-8"))
    resource["metadata"] |= {"name": name, "namespace": namespace}
    resource["spec"]["store"]["title"] = f"Shop {number}"
    return resource


async def _rendered(renderer: Renderer, resource: Object) -> list[Object]:
    shop = Shop.model_validate(resource)
    return await renderer.render(shop, resource["metadata"]["namespace"], "", bytes(32), frozenset())


def _pod(owner: Object, replica: int) -> Object:
    pod = statuses.pod_of(owner, statuses.Failure())
    pod["metadata"]["name"] += f"-{replica}"
    return pod


def _of_children_mib(process: psutil.Process) -> float:
    found = 0.0
    for child in process.children(recursive=True):
        with suppress(psutil.Error):  # it has ended meanwhile
            found += child.memory_info().rss / MIB
    return found


def _is_ready(shop: Object) -> bool:
    conditions = shop.get("status", {}).get("conditions", ())
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def _settled_shops(operator: Operator) -> int:
    """Ready ones, or as many as do not progress if that is less, as the operator counts them."""
    try:
        lines = [line.rpartition(" ") for line in operator.metrics().splitlines()]
    except OSError:
        return 0
    found = {name: int(float(value)) for name, _, value in lines if name.startswith("shop_operator_shops{")}
    wanted = ('condition="Ready",status="True"', 'condition="Progressing",status="False"')
    return min(found.get(f"shop_operator_shops{{{labels}}}", 0) for labels in wanted)


async def _all[T](items: Iterable[T], action: Callable[[T], Awaitable[object]]) -> None:
    """All of them, as many at once as the client lets through, which is as many as the operator has."""
    await asyncio.gather(*(action(item) for item in items))


async def until(test: Callable[[], Awaitable[bool]], what: str, pause_s: float = POLL_S) -> None:
    """Poll gently: the poller shares the cores with what it measures."""
    deadline = time.monotonic() + PHASE_LIMIT_S
    while not await test():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {PHASE_LIMIT_S} s")
        await asyncio.sleep(pause_s)


@contextmanager
def pods_that_look_alive(kubeconfig: Path) -> Iterator[int]:
    """tests/operator/kubelet.py as a process, whose id is given."""
    command = [sys.executable, "-m", "tests.operator.kubelet", str(kubeconfig)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        yield process.pid
    finally:
        process.kill()
        process.wait()


async def login(api: Kube, server: ApiServer) -> Path:
    """A kubeconfig with the token of the service account OPERATOR, who may do everything."""
    _, _, namespace, name = OPERATOR.split(":")
    account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name, "namespace": namespace}}
    await api.create(Kind("v1", "ServiceAccount", "serviceaccounts"), account)
    binding: Object = {
        "apiVersion": ROLE_BINDING.api_version,
        "kind": ROLE_BINDING.kind,
        "metadata": {"name": "bench"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
        "subjects": [{"kind": "ServiceAccount", "name": name, "namespace": namespace}],
    }
    await api.create(ROLE_BINDING, binding)
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "metadata": {"namespace": namespace}}
    tokens = Kind("v1", "TokenRequest", f"serviceaccounts/{name}/token")
    answer = await api.create(tokens, {**request, "spec": {"expirationSeconds": TOKEN_S}})
    return server.kubeconfig_for(OPERATOR, token=answer["status"]["token"])
