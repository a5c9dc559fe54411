"""Applying one object, and what to do when the API server refuses it."""

from __future__ import annotations

from dataclasses import dataclass

from shop.operator.engine.cache.store import Child
from shop.operator.engine.status.report import reason_of
from shop.operator.kube.api_errors import ApiError, Conflict, Invalid, NotFound
from shop.operator.kube.client import Kube
from shop.operator.kube.kinds import DEPLOYMENT, JOB, Kind, kind_of
from shop.operator.kube.objects import MANAGER, NamespacedName, Object, Ref

HANDOVER = f"{MANAGER}-handover"
"""Field manager that holds a Deployment's replicas between the operator, which lets go, and the autoscaler."""
FIELD_CONFLICT = "Apply failed with "
"""How the API server begins a message about fields of an object that other managers own."""
CHOSEN_BY_OTHERS = {
    "Service": ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"),
    "Deployment": ("replicas",),
}
"""Fields of the spec that the server or an autoscaler chooses where the operator does not."""


@dataclass(frozen=True)
class Blocked(Exception):
    """Something outside the operator keeps a Shop from its desired state; an immediate retry does not help."""

    reason: str
    message: str


def reason_and_message(error: Blocked | ApiError) -> tuple[str, str]:
    return (error.reason if isinstance(error, Blocked) else reason_of(error)), error.message


async def apply(kube: Kube, key: NamespacedName, obj: Object, child: Child | None, uid: str = "") -> Object:
    """Apply `obj`; `child` is its state in the cache, `uid` the last known one. Blocked when it is refused.

    An object that is neither known as the Shop's nor has that uid was not made for it: Blocked, not overwritten.
    """
    kind, ref = kind_of(obj), Ref.of(obj)
    ours = child is not None
    if not ours and uid:  # it may still be there, without the label by which it is watched
        live = await kube.get(kind, key.namespace, ref.name)
        ours = live is not None and live["metadata"]["uid"] == uid
    try:
        if ours and kind is DEPLOYMENT and "replicas" not in obj["spec"]:
            await _hand_over_replicas(kube, key, ref)
        return await kube.apply(kind, obj, force=ours)
    except Conflict as error:
        raise (_taken(ref) if is_field_conflict(error) else _blocked(ref, error)) from error
    except Invalid as error:
        return await _replace(kube, kind, key, ref, obj, error, ours=ours)
    except ApiError as error:
        raise _blocked(ref, error) from error


async def _hand_over_replicas(kube: Kube, key: NamespacedName, ref: Ref) -> None:
    """Keep the number of pods while the autoscaler takes over: a field without a manager would fall back to 1."""
    live = await kube.get(DEPLOYMENT, key.namespace, ref.name) or {}
    for entry in live.get("metadata", {}).get("managedFields", ()):
        if entry.get("manager") == MANAGER and "f:replicas" in entry.get("fieldsV1", {}).get("f:spec", {}):
            metadata = {"name": ref.name, "namespace": key.namespace}
            spec = {"replicas": live["spec"]["replicas"]}
            held = {"apiVersion": ref.api_version, "kind": ref.kind, "metadata": metadata, "spec": spec}
            await kube.apply(DEPLOYMENT, held, force=True, manager=HANDOVER)
            return


async def _replace(
    kube: Kube, kind: Kind, key: NamespacedName, ref: Ref, obj: Object, invalid: Invalid, *, ours: bool
) -> Object:
    """Fields of others are invalid together with ours: replace them, but keep annotations and labels."""
    live = await kube.get(kind, key.namespace, ref.name)
    if live is None:
        raise _blocked(ref, invalid) from invalid
    if not ours:
        raise _taken(ref) from invalid
    try:
        if kind is JOB:  # it cannot be changed, and it has not completed, or it would not be applied again
            await kube.delete(kind, key.namespace, ref.name, live["metadata"]["uid"])
        else:
            await kube.replace(kind, merged(live, obj))
        return await kube.apply(kind, obj, force=True)
    except (Invalid, Conflict, NotFound) as error:
        raise _blocked(ref, error) from error


def is_field_conflict(error: Conflict) -> bool:
    """Whether others own the object's fields; else it was only written at the same moment."""
    return error.message.startswith(FIELD_CONFLICT)


def merged(live: Object, obj: Object) -> Object:
    """What replaces `live` where the API server refuses to apply `obj` on top of it."""
    meta = {**live["metadata"]}
    meta.pop("managedFields", None)
    for part in ("labels", "annotations"):
        meta[part] = {**meta.get(part, {}), **obj["metadata"].get(part, {})}
    whole = {**live, **{name: value for name, value in obj.items() if name != "metadata"}, "metadata": meta}
    if kept := {name: live["spec"][name] for name in CHOSEN_BY_OTHERS.get(obj["kind"], ()) if name in live["spec"]}:
        whole["spec"] = {**kept, **obj["spec"]}
    return whole


def _taken(ref: Ref) -> Blocked:
    return Blocked("NameTaken", f"{ref.display_name} exists already and was not made for this Shop")


def _blocked(ref: Ref, error: ApiError) -> Blocked | ApiError:
    """A permanent error as Blocked; a transient one keeps its type. Both name the object."""
    message = f"{ref.display_name}: {error.message}"
    if error.status in (400, 403, 404, 405, 413, 422):
        return Blocked(reason_of(error), message)
    error.message = message
    return error
