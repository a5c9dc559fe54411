"""How a Shop in a cluster is, as data and as text. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from shop.operator.console import table
from shop.operator.engine.status.pods import PodProblem
from shop.operator.kube.objects import Object

MAX_EVENTS = 10
MAX_MESSAGE_CHARACTERS = 200
MINUTE_S, HOUR_S, DAY_S = 60, 3_600, 86_400
_WORDS = {"Installing": "Installing", "RollingOut": "Rolling out", "Deleting": "Being deleted"}


@dataclass(frozen=True, slots=True)
class Overview:
    """The Shop, what is wrong with its pods, and the events about it in any order."""

    shop: Object
    troubles: Sequence[PodProblem]
    events: Sequence[Object]

    @property
    def conditions(self) -> list[Object]:
        return list(self.shop.get("status", {}).get("conditions", []))

    @property
    def ready(self) -> bool:
        """Whether all serves what the spec says now. While the Shop is suspended, what it said before."""
        found = next((one for one in self.conditions if one["type"] == "Ready"), {})
        current = found.get("observedGeneration", 0) >= self.shop["metadata"]["generation"]
        return found.get("status") == "True" and (current or self._suspended)

    @property
    def _suspended(self) -> bool:
        return bool(self.shop.get("spec", {}).get("suspend", False))

    @property
    def behind(self) -> bool:
        """Whether the operator has not seen the latest change."""
        seen = self.shop.get("status", {}).get("observedGeneration", 0)
        return bool(seen < self.shop["metadata"]["generation"])

    def document(self) -> dict[str, Any]:
        """For scripts."""
        metadata, status = self.shop["metadata"], self.shop.get("status", {})
        return {
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "ready": self.ready,
            "summary": summary(self.conditions),
            "url": status.get("url", ""),
            "version": status.get("version", ""),
            "revision": status.get("revision", 0),
            "suspended": self._suspended,
            "generation": metadata["generation"],
            "observed_generation": status.get("observedGeneration", 0),
            "conditions": [_condition(one) for one in self.conditions],
            "services": [{"ready": 0, "desired": 0, "image": "", **one} for one in status.get("services", [])],
            "troubles": [
                {"pod": one.pod, "owner": one.owner, "reason": one.reason, "message": one.message}
                for one in self.troubles
            ],
            "events": [_event(one) for one in sorted(self.events, key=_time_of)[-MAX_EVENTS:]],
        }

    def text(self, now: datetime) -> str:
        """For a person."""
        found = self.document()
        conditions = [
            (one["type"], one["status"], one["reason"], age(one["since"], now), one_line(one["message"]))
            for one in found["conditions"]
        ]
        services = [(one["name"], f"{one['ready']}/{one['desired']}", one["image"]) for one in found["services"]]
        troubles = [one_line(one["message"]) for one in found["troubles"]]
        parts = [
            _head(found, behind=self.behind),
            _table(("CONDITION", "STATUS", "REASON", "SINCE", "MESSAGE"), conditions),
            _table(("SERVICE", "READY", "IMAGE"), services),
            "\n".join(["TROUBLE", *troubles]) if troubles else "",
            _table(("LAST SEEN", "TYPE", "REASON", "EVENT"), [_event_row(one, now) for one in found["events"]]),
        ]
        return "\n\n".join(part for part in parts if part)


def _condition(one: Object) -> dict[str, Any]:
    return {
        "type": one["type"],
        "status": one["status"],
        "reason": one.get("reason", ""),
        "message": one.get("message", ""),
        "since": one.get("lastTransitionTime", ""),
    }


def _event(one: Object) -> dict[str, Any]:
    return {
        "time": _time_of(one),
        "type": one.get("type", "Normal"),
        "reason": one.get("reason", ""),
        "message": one.get("message", ""),
        "count": one.get("count") or 1,
    }


def _time_of(event: Object) -> str:
    """When it was last seen; writers of events use different fields. "" when none is filled."""
    times = (event.get("lastTimestamp"), event.get("eventTime"), event.get("firstTimestamp"))
    return next((time for time in times if time), event["metadata"].get("creationTimestamp") or "")


def _head(found: dict[str, Any], *, behind: bool) -> str:
    facts = [
        found["url"],
        f"version {found['version']}" if found["version"] else "",
        f"revision {found['revision']}" if found["revision"] else "",
    ]
    head = f"{found['name']} in namespace {found['namespace']}: {one_line(found['summary'])}"
    lines = [head, "  ".join(fact for fact in facts if fact)]
    if behind:
        lines.append("The operator has not seen the latest change of this Shop; is it running?")
    return "\n".join(line for line in lines if line)


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    return table([head, *rows]) if rows else ""


def _event_row(event: dict[str, Any], now: datetime) -> tuple[str, ...]:
    times = f" ({event['count']} times)" if event["count"] > 1 else ""
    return age(event["time"], now), event["type"], event["reason"], one_line(event["message"]) + times


def one_line(text: str) -> str:
    """Fit for a table; --json has it in full."""
    text = " ".join(text.split())
    return text if len(text) <= MAX_MESSAGE_CHARACTERS else text[:MAX_MESSAGE_CHARACTERS] + "..."


def age(time: str, now: datetime) -> str:
    """How long ago, in the unit that suits: 12s, 5m, 3h, 2d; "-" for no time."""
    if not time:
        return "-"
    seconds = max(0, int((now - datetime.fromisoformat(time).astimezone(UTC)).total_seconds()))
    for unit_s, letter in ((DAY_S, "d"), (HOUR_S, "h"), (MINUTE_S, "m")):
        if seconds >= 2 * unit_s:
            return f"{seconds // unit_s}{letter}"
    return f"{seconds}s"


def summary(conditions: Sequence[Object]) -> str:
    """One line for a person: the state, and why it is not Ready."""
    if not conditions:
        return "New: the operator has not seen it"
    found = {condition["type"]: condition for condition in conditions}
    ready, degraded, paused = (found.get(kind, {}) for kind in ("Ready", "Degraded", "Paused"))
    serves = ready.get("status") == "True"
    if paused.get("status") == "True":
        return f"Paused, {'ready' if serves else 'not ready'}: {paused['message']}"
    if serves:
        return "Ready"
    if degraded.get("status") == "True":
        going = "Rolling out" if ready.get("status") == "Unknown" else "Not ready"
        return f"{going} ({degraded['reason']}): {degraded['message']}"
    return f"{_WORDS.get(str(ready.get('reason')), 'Not ready')}: {ready.get('message', '')}"
