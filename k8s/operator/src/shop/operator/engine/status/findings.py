"""What a pass knows about a Shop beside its own step, and how it is made known: status, Events, and the log."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from shop.operator.engine.cache.store import Cache
from shop.operator.engine.kube.api_errors import ApiError
from shop.operator.engine.kube.objects import NamespacedName
from shop.operator.engine.reconcile.apply import Blocked
from shop.operator.engine.reconcile.target import Target
from shop.operator.engine.reconcile.upgrades import STOPPED, Wait
from shop.operator.engine.status.conditions import Facts
from shop.operator.engine.status.event_recorder import EventRecorder
from shop.operator.engine.status.report import Report
from shop.operator.engine.status.shop_view import ShopView

TRANSIENT_IN_A_ROW = 2
"""Failures that a moment can cure are written into the status from this many in a row on."""
_REASONS = {0: "Unreachable", 403: "Forbidden", 409: "Conflict", 429: "Throttled"}


def reason_of(error: ApiError) -> str:
    """The condition's reason for what the API server answered; the message has its words."""
    return _REASONS.get(error.status, "ServerError" if error.status >= 500 else "Refused")


def why(error: Blocked | ApiError) -> tuple[str, str]:
    """Reason and sentence of what stopped a step."""
    return (error.reason if isinstance(error, Blocked) else reason_of(error)), error.message


def is_transient(error: ApiError) -> bool:
    """Whether the same request may well succeed a moment later."""
    return error.status in (0, 409, 429) or error.status >= 500


class Findings:
    def __init__(self, cache: Cache, report: Report, recorder: EventRecorder) -> None:
        self._cache = cache
        self._report = report
        self._recorder = recorder
        self._failures: dict[NamespacedName, int] = {}

    def forget(self, key: NamespacedName) -> None:
        self._failures.pop(key, None)

    def succeeded(self, key: NamespacedName) -> None:
        """The next failure is the first again."""
        self._failures.pop(key, None)

    def latest(self, view: ShopView) -> ShopView:
        """The same Shop as it is known now; `view` when it is gone or another one has its name."""
        raw = self._cache.shop(view.key)
        return view if raw is None or raw["metadata"]["uid"] != view.uid else ShopView.of(raw)

    def event(self, view: ShopView, kind: str, reason: str, message: str) -> None:
        self._recorder.event(view.resource, kind, reason, message)

    def stopped_upgrade(self, view: ShopView, wait: Wait) -> None:
        """An Event when failures elsewhere have begun to keep the operator's release from this Shop."""
        told = any(one.get("reason") == STOPPED for one in view.status.get("conditions", ()))
        if wait.reason == STOPPED and not told:
            self.event(view, "Warning", wait.reason, wait.message)

    async def failed(self, view: ShopView, error: ApiError) -> None:
        """Write down that the API server refused a step or did not answer; raises `error` while it is too early."""
        count = self._failures[view.key] = self._failures.get(view.key, 0) + 1
        if is_transient(error) and count < TRANSIENT_IN_A_ROW:
            raise error
        await self.blocked(self.latest(view), reason_of(error), error.message)

    async def blocked(self, view: ShopView, reason: str, message: str) -> None:
        """Write down what keeps the Shop from being as its spec says."""
        self.event(view, "Warning", reason, message)
        if view.deleting:
            await self._report.write(view, Facts(view.generation, deleting=message))
        else:
            await self.stopped(view, Facts(view.generation, blocked=(reason, message)))

    async def stopped(self, view: ShopView, facts: Facts) -> None:
        await self._report.write(view, replace(facts, serving=view.revision > 0, unready=self._unready(view)))

    def facts(self, view: ShopView, hash_: str, rolled: Target | None = None, **found: Any) -> Facts:
        """What is known in any pass, with what this one found; `hash_` is the one that the spec asks for.

        A pod in problem counts when it is of what is rolled out or of what does not serve: that of a backup that failed
        last night is neither.
        """
        unready = self._unready(view)
        failure = view.failure if view.failure and view.failure.hash == hash_ else None
        if failure and "failed" not in found:
            found["failed"] = failure.reason, failure.message
        owners = {sentence.partition(":")[0] for sentence in unready} | (rolled.display_name if rolled else set())
        return Facts(
            view.generation,
            serving=view.revision > 0,
            unready=unready,
            pod_problems=tuple(one for one in self._cache.pod_problems(view.key) if one.owner in owners),
            rolled_back_to=view.revision if failure and view.revision else None,
            **found,
        )

    def _unready(self, view: ShopView) -> tuple[str, ...]:
        """What of the last revision that came up does not serve; what is new in a rollout has no uid yet."""
        children = self._cache.children(view.key)
        found = [(ref, children.get(ref)) for ref, entry in view.inventory.items() if entry.uid and not entry.done]
        return tuple(
            child.health.message or f"{ref.display_name} does not serve" if child else f"{ref.display_name}: it is gone"
            for ref, child in found
            if child is None or not child.serves
        )
