"""What is reported of a Shop: its status, in one patch with only what has changed, and its Events."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError
from pydantic.alias_generators import to_camel

from shop.operator.engine.cache.store import Cache
from shop.operator.engine.render.values import public_url
from shop.operator.engine.status.conditions import Facts, conditions
from shop.operator.engine.status.event_recorder import EventRecorder
from shop.operator.engine.status.shop_view import Entry, ShopView, StatusPart
from shop.operator.kube.api_errors import ApiError, Conflict
from shop.operator.kube.client import Kube
from shop.operator.kube.kinds import SHOP
from shop.operator.kube.objects import Object
from shop.operator.resource.spec import Exposure

PROGRESS_FIELDS = frozenset({"conditions", "services", "servicesReady"})
PATCH_TRIES = 5
"""Of one write of the status, while other clients change the Shop."""
PROGRESS_S = 3.0
"""How often the status of a rollout is written when only messages and counts have changed."""
TRANSIENT_IN_A_ROW = 2
"""Transient failures are written into the status from this many in a row on."""
_REASONS = {0: "Unreachable", 403: "Forbidden", 409: "Conflict", 429: "Throttled"}


def reason_of(error: ApiError) -> str:
    """The condition's reason for an error of the API server; the message is the server's."""
    return _REASONS.get(error.status, "ServerError" if error.status >= 500 else "Refused")


class StatusReporter:
    """`put` stores the response to a write in the cache."""

    def __init__(
        self, kube: Kube, cache: Cache, version: str, recorder: EventRecorder, put: Callable[[Object], None]
    ) -> None:
        self._kube, self._cache, self._version = kube, cache, version
        self._recorder, self._put = recorder, put

    def latest(self, view: ShopView) -> ShopView:
        """The same Shop as the cache has it now; `view` when it is gone or another one has its name."""
        raw = self._cache.shop(view.key)
        return view if raw is None or raw["metadata"]["uid"] != view.uid else ShopView.of(raw, view.memory)

    def record_event(self, view: ShopView, kind: str, reason: str, message: str) -> None:
        self._recorder.record(view.resource, kind, reason, message)

    async def report_failure(self, view: ShopView, error: ApiError) -> None:
        """Report that the API server refused a request or did not answer; raises `error` while it is too early."""
        view.memory.failures += 1
        transient = error.status in (0, 409, 429) or error.status >= 500
        if transient and view.memory.failures < TRANSIENT_IN_A_ROW:
            raise error
        await self.report_blocked(self.latest(view), reason_of(error), error.message)

    async def report_blocked(self, view: ShopView, reason: str, message: str) -> None:
        """Report what keeps the Shop from being as its spec says."""
        self.record_event(view, "Warning", reason, message)
        if view.deleting:
            await self.write(view, Facts(view.generation, deleting=message))
        else:
            await self.report_stopped(view, Facts(view.generation, blocked=(reason, message)))

    async def report_stopped(self, view: ShopView, facts: Facts) -> None:
        await self.write(view, replace(facts, serving=view.revision > 0, unready=self._unready(view)))

    def facts(self, view: ShopView, hash_: str, owners: Collection[str] = (), **found: Any) -> Facts:
        """What any reconcile knows, with what this one `found`; `hash_` is the one that the spec asks for.

        A pod's problem counts when its owner is rolled out (`owners`) or does not serve: not that of last night's
        failed backup.
        """
        unready = self._unready(view)
        failure = view.failure if view.failure and view.failure.hash == hash_ else None
        if failure and "failed" not in found:
            found["failed"] = failure.reason, failure.message
        relevant = {sentence.partition(":")[0] for sentence in unready} | set(owners)
        return Facts(
            view.generation,
            serving=view.revision > 0,
            unready=unready,
            pod_problems=tuple(one for one in self._cache.pod_problems(view.key) if one.owner in relevant),
            rolled_back_to=view.revision if failure and view.revision else None,
            **found,
        )

    def _unready(self, view: ShopView) -> tuple[str, ...]:
        """What of the last good revision does not serve; what is new in a rollout has no uid yet."""
        children = self._cache.children(view.key)
        found = [(ref, children.get(ref)) for ref, entry in view.inventory.items() if entry.uid and not entry.done]
        return tuple(
            child.health.message or f"{ref.display_name} does not serve" if child else f"{ref.display_name}: it is gone"
            for ref, child in found
            if child is None or not child.serves
        )

    async def write(self, view: ShopView, facts: Facts, **parts: Any) -> ShopView:
        """Patch what differs, nothing if nothing does; `parts` are fields of the status in snake_case."""
        if view.revision == 0:
            parts = {**self.requested(view), **parts}
        services = [
            {"name": ref.name.removeprefix(f"{view.key.name}-"), **asdict(child.scale)}
            for ref, child in sorted(self._cache.children(view.key).items())
            if child.scale is not None
        ]
        ready = sum(one["ready"] >= one["desired"] for one in services)
        wanted = {
            "observedGeneration": view.generation,
            "conditions": conditions(view.status.get("conditions", ()), facts, datetime.now(UTC)),
            "servicesReady": f"{ready}/{len(services)}" if services else None,
            "services": services,
            **{
                to_camel(name): value.as_json() if isinstance(value, StatusPart) else value
                for name, value in parts.items()
            },
        }
        changed = {name: value for name, value in wanted.items() if (view.status.get(name) or None) != (value or None)}
        if not changed:
            return view
        view.memory.status_deferred = self._may_defer(view, changed)
        if view.memory.status_deferred:
            return view
        view.memory.status_written_s = time.monotonic()
        body = await self._patch(view, changed)
        self._put(body)
        return ShopView.of(body, view.memory)

    async def _patch(self, view: ShopView, changed: Object) -> Object:
        """Write into the status that `view` was read from, and no other: Conflict when it was written meanwhile, or
        when another Shop has the name by now. A change of spec or labels meanwhile is no reason not to write."""
        live = view.resource
        for _ in range(PATCH_TRIES):
            metadata = {"resourceVersion": live["metadata"]["resourceVersion"], "uid": view.uid}
            body = {"metadata": metadata, "status": changed}
            try:
                return await self._kube.patch(SHOP, *view.key, body, subresource="status")
            except Conflict as error:
                found = await self._kube.get(SHOP, *view.key)
                if found is None or found["metadata"]["uid"] != view.uid or found.get("status", {}) != view.status:
                    if found is not None:
                        self._put(found)
                    raise error
                live = found
        raise Conflict(409, "Conflict", f"Shop {view.key} is changed again and again while its status is written")

    def requested(self, view: ShopView) -> dict[str, Any]:
        """Version and URL that the spec asks for, to be written when it serves: until then, and after a rollback, the
        status keeps those of the last revision. A new Shop has them at once."""
        return {"version": view.spec.get("version") or self._version, "url": address(view)}

    def _may_defer(self, view: ShopView, changed: Object) -> bool:
        """The progress of a rollout that goes on is written now and then: each write costs the API server."""
        recent = time.monotonic() - view.memory.status_written_s < PROGRESS_S
        if not recent or not changed.keys() <= PROGRESS_FIELDS or view.rollout is None:
            return False
        before = view.status.get("conditions", ())
        after = changed.get("conditions") or before
        return [{**one, "message": ""} for one in before] == [{**one, "message": ""} for one in after]


def address(view: ShopView) -> str | None:
    """The shop's URL for customers; without an exposure, the one inside the cluster. None: the spec is invalid."""
    try:
        exposure = Exposure.model_validate(view.spec.get("exposure", {}))
    except ValidationError:
        return view.status.get("url")
    if exposure.type == "None":
        return f"http://{view.key.name}-gateway.{view.key.namespace}.svc:8000"
    return public_url(exposure)


def inventory(entries: Iterable[Entry]) -> list[Object]:
    """In a fixed order, so that the same objects give the same status."""
    return [entry.as_json() for entry in sorted(entries, key=lambda entry: entry.ref)]
