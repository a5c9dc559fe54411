"""Makes the objects of a Shop look alive on an API server without nodes: their statuses, claims and failing pods.

It plays kubelet, the workload controllers and just enough of the garbage collector: pods and claims that it made go
with their owner, and deletions do not wait for a controller that is not there. Healthy workloads get no pods; one
that fails gets one, whose status says why. As a process of its own, for benchmarks:

    python -m tests.operator.kubelet KUBECONFIG
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Self

from shop.operator.engine.cache.informer import Informer
from shop.operator.engine.cache.work_queue import WorkQueue
from shop.operator.kube.api_errors import ApiError, Conflict, NotFound
from shop.operator.kube.client import Kube
from shop.operator.kube.kinds import CLAIM, CRON_JOB, DEPLOYMENT, JOB, POD, RENDERED, Kind
from shop.operator.kube.objects import SHOP_LABEL, NamespacedName, Object
from tests.operator import statuses
from tests.operator.statuses import Failure

STATEFUL_SET = Kind("apps/v1", "StatefulSet", "statefulsets")
OPTIONAL = tuple(kind for kind in RENDERED if kind.kind in ("Cluster", "HTTPRoute"))
WORKERS = 8
SYNC_TIMEOUT_S = 30.0
NOT_OURS_TO_WAIT_FOR = frozenset({"kubernetes.io/pvc-protection", "foregroundDeletion", "orphan"})
"""Finalizers that controllers take away."""
type Work = tuple[Kind, NamespacedName]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Rule:
    """Objects whose name, and one of whose images, match the patterns fail so."""

    name: str
    image: str
    failure: Failure

    def meets(self, obj: Object) -> bool:
        return fnmatchcase(obj["metadata"]["name"], self.name) and (
            self.image == "*" or any(fnmatchcase(image, self.image) for image in _images(obj))
        )


class Kubelet:
    """`async with Kubelet(api) as kubelet:`; it looks after one namespace, or after all.

    Everything is ready `start_s` after it has changed.
    """

    def __init__(
        self, kube: Kube, namespace: str | None = None, *, labels: str = SHOP_LABEL, start_s: float = 0.0
    ) -> None:
        self._start_s = start_s
        self._kube, self._namespace, self._labels = kube, namespace, labels
        self._queue = WorkQueue[Work]()
        self._todo: dict[Work, Object | None] = {}
        self._informers: list[Informer[int]] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._rules: list[Rule] = []
        self._serving: dict[str, str] = {}
        self._pods: dict[Work, set[str]] = {}

    async def __aenter__(self) -> Self:
        for kind in (DEPLOYMENT, STATEFUL_SET, JOB, CRON_JOB, CLAIM, *await self._optional()):
            self._informers.append(self._informer(kind))
        runs = [informer.run() for informer in self._informers]
        self._tasks = [asyncio.create_task(run) for run in [*runs, *(self._work() for _ in range(WORKERS))]]
        async with asyncio.timeout(SYNC_TIMEOUT_S):
            for informer in self._informers:
                await informer.synced.wait()
        return self

    async def __aexit__(self, *_: object) -> None:
        for task in self._tasks:
            task.cancel()
        ended = await asyncio.gather(*self._tasks, return_exceptions=True)
        broken = [error for error in ended if isinstance(error, Exception)]
        if broken:
            raise broken[0]

    async def fail(self, name: str, failure: Failure, *, image: str = "*") -> None:
        """Let what matches fail, now and when it starts; shell patterns. The last rule that matches counts."""
        self._rules.append(Rule(name, image, failure))
        await self._look_again()

    async def heal(self, name: str = "*") -> None:
        """Forget the rules whose name matches: everything becomes healthy."""
        self._rules = [rule for rule in self._rules if not fnmatchcase(rule.name, name)]
        await self._look_again()

    async def run(self) -> None:
        """Until cancelled; the first error of any part."""
        await asyncio.gather(*self._tasks)

    async def _optional(self) -> list[Kind]:
        return [kind for kind in OPTIONAL if kind.kind in await self._kube.served(kind.api_version)]

    def _informer(self, kind: Kind) -> Informer[int]:
        def keep(obj: Object) -> int:
            self._look(kind, obj)
            return _version(obj)

        def changed(name: NamespacedName, _: int | None, new: int | None) -> None:
            if new is None and (kind is STATEFUL_SET or (kind, name) in self._pods):
                self._todo[kind, name] = None
                self._queue.add((kind, name))

        return Informer(self._kube, kind, self._namespace, self._labels_of(kind), keep, changed)

    def _labels_of(self, kind: Kind) -> str:
        """Claims made for StatefulSets have their own labels."""
        return "" if kind is CLAIM else self._labels

    async def _look_again(self) -> None:
        """Judge every object by the present rules, except one that changed while the list was read.

        The change has an event, which is judged by the present rules too; the state in the list is another one, and
        would take the name of what is still to be done, such as letting a deleted object go.
        """
        for informer in self._informers:
            kind = informer.kind
            for obj in await self._kube.list(kind, self._namespace, self._labels_of(kind)):
                if informer.items.get(_place(obj)) == _version(obj):
                    self._look(kind, obj)

    def _look(self, kind: Kind, obj: Object) -> None:
        work = kind, _place(obj)
        if self._due(obj):
            self._todo[work] = obj
            self._queue.add_after(work, self._start_s)
        else:
            self._todo.pop(work, None)

    async def _work(self) -> None:
        while (work := await self._queue.get()) is not None:
            if work in self._todo:
                obj = self._todo.pop(work)
                try:
                    await self._handle(work, obj)
                    self._queue.succeeded(work)
                except (NotFound, Conflict):
                    pass  # changed meanwhile: its event is under way
                except ApiError:
                    logger.exception("%s %s", work[0].kind, work[1])
                    self._todo.setdefault(work, obj)
                    self._queue.failed(work)
            self._queue.done(work)

    async def _handle(self, work: Work, obj: Object | None) -> None:
        kind, (namespace, name) = work
        if obj is None or obj["metadata"].get("deletionTimestamp"):
            await self._remove_pods(work)
            if obj is not None:
                await self._let_go(kind, obj)
            return
        failure = self._failure(obj)
        if kind is STATEFUL_SET:
            await self._make_claims(obj)
        if failure is None or not failure.reason:
            await self._remove_pods(work)
        else:
            await self._make_pod(work, obj, failure)
        if "template" in obj["spec"] and failure is None:
            self._serving[obj["metadata"]["uid"]] = statuses.template_hash(obj)
        await self._kube.patch(kind, namespace, name, {"status": self._wanted(obj)}, subresource="status")

    def _due(self, obj: Object) -> bool:
        """Whether there is anything to do about it."""
        meta = obj["metadata"]
        if meta.get("deletionTimestamp"):
            return bool(NOT_OURS_TO_WAIT_FOR.intersection(meta.get("finalizers", ())))
        return (
            obj["kind"] != CRON_JOB.kind
            and not _over(obj)
            and not obj["spec"].get("suspend")
            and not _contains(obj.get("status") or {}, self._wanted(obj))
        )

    def _failure(self, obj: Object) -> Failure | None:
        return next((rule.failure for rule in reversed(self._rules) if rule.meets(obj)), None)

    def _wanted(self, obj: Object) -> statuses.Status:
        failure = self._failure(obj)
        if failure is None:
            return statuses.healthy(obj)
        serving = self._serving.get(obj["metadata"]["uid"])
        old_serve = serving is not None and serving != statuses.template_hash(obj)
        return statuses.failing(obj, failure, old_serve=old_serve)

    async def _make_pod(self, work: Work, owner: Object, failure: Failure) -> None:
        if "template" not in owner["spec"]:
            return
        pod = statuses.pod_of(owner, failure)
        meta = pod["metadata"]
        for other in self._pods.get(work, set()) - {meta["name"]}:
            await self._kube.delete(POD, meta["namespace"], other)
        with contextlib.suppress(Conflict):  # made before
            await self._kube.create(POD, pod)
        self._pods[work] = {meta["name"]}
        status = statuses.pod_status(pod, failure, final=owner["kind"] == "Job")
        await self._kube.patch(POD, meta["namespace"], meta["name"], {"status": status}, subresource="status")

    async def _remove_pods(self, work: Work) -> None:
        for name in self._pods.pop(work, ()):
            await self._kube.delete(POD, work[1][0], name)

    async def _make_claims(self, owner: Object) -> None:
        """As the controller of StatefulSets names and labels them; they outlive their owner."""
        meta, spec = owner["metadata"], owner["spec"]
        for template in spec.get("volumeClaimTemplates", ()):
            for number in range(statuses.wanted_replicas(owner)):
                labels = {**template["metadata"].get("labels", {}), **spec["selector"]["matchLabels"]}
                name = f"{template['metadata']['name']}-{meta['name']}-{number}"
                metadata = {"name": name, "namespace": meta["namespace"], "labels": labels}
                claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata}
                with contextlib.suppress(Conflict):  # from an earlier life
                    await self._kube.create(CLAIM, {**claim, "spec": template["spec"]})

    async def _let_go(self, kind: Kind, obj: Object) -> None:
        meta = obj["metadata"]
        left = [name for name in meta.get("finalizers", ()) if name not in NOT_OURS_TO_WAIT_FOR]
        body = {"metadata": {"finalizers": left, "resourceVersion": meta["resourceVersion"]}}
        await self._kube.patch(kind, meta["namespace"], meta["name"], body)


def _place(obj: Object) -> NamespacedName:
    return NamespacedName(obj["metadata"]["namespace"], obj["metadata"]["name"])


def _version(obj: Object) -> int:
    return int(obj["metadata"]["resourceVersion"])


def _images(obj: Object) -> list[str]:
    spec = obj["spec"].get("template", {}).get("spec", {})
    return [part["image"] for field in ("initContainers", "containers") for part in spec.get(field) or ()]


def _over(obj: Object) -> bool:
    """A Job that has ended does not change any more."""
    conditions = (obj.get("status") or {}).get("conditions") or []
    return obj["kind"] == "Job" and any(each["type"] in ("Complete", "Failed") for each in conditions)


def _contains(status: Any, wanted: Any) -> bool:
    """Whether a merge of `wanted` would change nothing that matters."""
    if isinstance(wanted, list):
        same_length = isinstance(status, list) and len(status) == len(wanted)
        return same_length and all(_contains(*pair) for pair in zip(status, wanted, strict=True))
    if isinstance(wanted, dict):
        return isinstance(status, dict) and all(_contains(status.get(name), part) for name, part in wanted.items())
    return bool(status == wanted) or (wanted in (0, "", None) and status in (0, "", None))


async def main(kubeconfig: Path) -> None:
    async with Kube(kubeconfig) as kube, Kubelet(kube) as kubelet:
        print("ready", flush=True)
        await kubelet.run()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
