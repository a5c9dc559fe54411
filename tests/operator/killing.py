"""Operators that are killed (SIGKILL) at their writes, one after the other, and what must hold when they are through.

A killed operator leaves either a write that the server never saw, or one whose answer it never received. After each
kill a new process begins and is killed at its own first write, once before the server sees that write and once after,
until a whole creation, upgrade or deletion is through. So a process is killed at every write, before and after it.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from itertools import islice
from pathlib import Path

from shop.devkit.testing import wait_until
from shop.operator.engine.cache.informer import Informer
from shop.operator.kube.client import Kube
from shop.operator.kube.kinds import DEPLOYMENT, JOB, SECRET, Kind, kind_of
from shop.operator.kube.objects import SHOP_LABEL, NamespacedName, Object, Ref
from tests.operator.apiserver import ApiServer
from tests.operator.faults import Proxy, Seen, When
from tests.operator.kept import Kept
from tests.operator.operators import Operator, Operators

USER = "operator"
MAX_KILLS = 400
MAX_ENDED = 5
"""Operators in a row that may end by themselves, as one does that a busy machine keeps from renewing its Lease."""
STEP_LIMIT_S = 60
ONCE = (JOB, DEPLOYMENT, SECRET)
"""Kinds of which an object must never be made twice."""
type Test = Callable[[], Awaitable[bool]]
type Kills = list[tuple[str, When]]
"""The writes at which one was killed, in order."""


class Births:
    """How many objects of a name have ever been there."""

    def __init__(self, api: Kube, namespace: str) -> None:
        self.uids: defaultdict[tuple[Kind, str], set[str]] = defaultdict(set)
        self._informers = [Informer(api, kind, namespace, SHOP_LABEL, self._uid, self._of(kind)) for kind in ONCE]
        self.tasks = [asyncio.create_task(informer.run()) for informer in self._informers]

    @staticmethod
    def _uid(obj: Object) -> str:
        uid: str = obj["metadata"]["uid"]
        return uid

    def _of(self, kind: Kind) -> Callable[[NamespacedName, str | None, str | None], None]:
        def changed(key: NamespacedName, _: str | None, uid: str | None) -> None:
            if uid is not None:
                self.uids[kind, key.name].add(uid)

        return changed

    def twice(self) -> list[str]:
        return [name for (_, name), uids in self.uids.items() if len(uids) > 1]

    def close(self) -> None:
        for task in self.tasks:
            task.cancel()


async def through(operators: Operators, proxy: Proxy, namespace: str, over: Test) -> Kills:
    """Operators one after the other, each killed at its first write, until one finds `over`."""
    kills: Kills = []
    ended = 0

    def when(seen: Seen) -> When:
        """Objects of one kind are written together, in any order: so every write has its own turns."""
        return When.AFTER if sum(write == str(seen) for write, _ in kills) % 2 else When.BEFORE

    while len(kills) < MAX_KILLS and ended <= MAX_ENDED:
        operator, asked = operators.start(proxy.kubeconfig, namespace, identity=USER), len(proxy.seen)
        proxy.kill_at(1, operator.kill, when)

        step = partial(_stepped, operator, proxy, over)
        await wait_until(step, STEP_LIMIT_S, f"a write after {len(kills)} kills; log: {operator.log}")
        was_alive = operator.alive
        operator.kill()
        await operator.gone()
        await proxy.no_clients()
        if proxy.killed.is_set():
            write = next(seen for seen in islice(proxy.seen, asked, None) if seen.counted)
            kills.append((str(write), when(write)))
            ended = 0
        elif was_alive:
            return kills
        else:
            ended += 1
    raise AssertionError(f"not through after {len(kills)} kills, {ended} operators in a row ended; log: {operator.log}")


async def _stepped(operator: Operator, proxy: Proxy, over: Test) -> bool:
    """`over` may be seen before the write that ended it has come back to the proxy, which kills only then."""
    return proxy.killed.is_set() or not operator.alive or (await over() and not proxy.writes)


def spared(kills: Kills, method: str, refs: Iterable[Ref]) -> set[str]:
    """Writes at which none was killed, or only in one way; `method` and `refs`: what must have been written."""
    expected = {f"{method} {kind_of(ref).plural}/{ref.name}" for ref in refs}
    before, after = ({write for write, when in kills if when is one} for one in When)
    return (expected | before | after) - (before & after)


async def rests(operators: Operators, login: Path, apiserver: ApiServer, shop: Kept) -> None:
    """An operator finds nothing to do when nothing changes."""
    mark = apiserver.mark()
    operator = operators.start(login, shop.namespace, identity="operator", resync_s="1")
    await operator.leading()
    await operator.resynced()
    assert apiserver.writes(mark, user=USER) == []
    await operator.stop()
