"""Bringing one object to what it should be: apply, and what to do when the API server will not have it."""

from __future__ import annotations

from dataclasses import dataclass

from shop.operator.engine.cache.store import Child
from shop.operator.engine.kube.api_errors import ApiError, Conflict, Invalid, NotFound
from shop.operator.engine.kube.client import Kube
from shop.operator.engine.kube.kinds import DEPLOYMENT, JOB, Kind, kind_of
from shop.operator.engine.kube.objects import MANAGER, NamespacedName, Object, Ref

HANDOVER = f"{MANAGER}-handover"
"""Field manager that holds a Deployment's replicas between the operator, which lets go, and the autoscaler."""
FIELDS_TAKEN = "Apply failed with "
"""How the API server begins to say which fields of an object other managers own."""
NOT_OURS = {
    "Service": ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"),
    "Deployment": ("replicas",),
}
"""Fields of the spec that the server or an autoscaler chooses where we do not."""


@dataclass(frozen=True)
class Blocked(Exception):
    """The API server will not have an object as it is; trying again at once is of no use."""

    reason: str
    message: str


class Applier:
    def __init__(self, kube: Kube) -> None:
        self._kube = kube

    async def apply(self, key: NamespacedName, obj: Object, child: Child | None, uid: str = "") -> Object:
        """Make `obj` so; `child` is what is known of it, `uid` its last known one. Blocked when it cannot be.

        What neither is known as the Shop's nor has that uid was made by somebody else: it is not taken by force.
        """
        kind, ref = kind_of(obj), Ref.of(obj)
        ours = child is not None or await self._is_still(kind, key, ref, uid)
        try:
            if ours and kind is DEPLOYMENT and "replicas" not in obj["spec"]:
                await self._hand_over_replicas(key, ref)
            live = await self._kube.apply(kind, obj, force=ours)
        except Conflict as error:
            if not is_taken(error):
                raise _refused(ref, error) from error
            raise _taken(ref) from error
        except Invalid as error:
            live = await self._replace(kind, key, ref, obj, error, ours=ours)
        except ApiError as error:
            raise _refused(ref, error) from error
        return live

    async def _is_still(self, kind: Kind, key: NamespacedName, ref: Ref, uid: str) -> bool:
        """Whether what was applied before is there, without the label by which it would be known."""
        live = await self._kube.get(kind, key.namespace, ref.name) if uid else None
        return live is not None and live["metadata"]["uid"] == uid

    async def _hand_over_replicas(self, key: NamespacedName, ref: Ref) -> None:
        """Keep the present number of pods while the autoscaler takes over: a field let go would fall back to 1."""
        live = await self._kube.get(DEPLOYMENT, key.namespace, ref.name)
        if live is None or not _owns_replicas(live):
            return
        held = {
            "apiVersion": ref.api_version,
            "kind": ref.kind,
            "metadata": {"name": ref.name, "namespace": key.namespace},
            "spec": {"replicas": live["spec"]["replicas"]},
        }
        await self._kube.apply(DEPLOYMENT, held, force=True, manager=HANDOVER)

    async def _replace(
        self, kind: Kind, key: NamespacedName, ref: Ref, obj: Object, refused: Invalid, *, ours: bool
    ) -> Object:
        """Somebody's fields do not go together with ours: put ours in their place, but keep annotations and labels."""
        live = await self._kube.get(kind, key.namespace, ref.name)
        if live is None:
            raise _refused(ref, refused) from refused
        if not ours:
            raise _taken(ref) from refused
        try:
            if kind is JOB:  # it cannot be changed, and it has not completed, or it would not be applied again
                await self._kube.delete(kind, key.namespace, ref.name, live["metadata"]["uid"])
            else:
                await self._kube.replace(kind, merged(live, obj))
            return await self._kube.apply(kind, obj, force=True)
        except (Invalid, Conflict, NotFound) as error:
            raise _refused(ref, error) from error


def is_taken(error: Conflict) -> bool:
    """Whether others own the object's fields; else somebody only wrote it at the same moment."""
    return error.message.startswith(FIELDS_TAKEN)


def _owns_replicas(live: Object) -> bool:
    return any(
        entry.get("manager") == MANAGER and "f:replicas" in entry.get("fieldsV1", {}).get("f:spec", {})
        for entry in live["metadata"].get("managedFields", ())
    )


def merged(live: Object, obj: Object) -> Object:
    """What replaces `live` where the API server does not take `obj` on top of it."""
    meta = {**live["metadata"]}
    meta.pop("managedFields", None)
    for part in ("labels", "annotations"):
        meta[part] = {**meta.get(part, {}), **obj["metadata"].get(part, {})}
    whole = {**live, **{name: value for name, value in obj.items() if name != "metadata"}, "metadata": meta}
    if kept := {name: live["spec"][name] for name in NOT_OURS.get(obj["kind"], ()) if name in live["spec"]}:
        whole["spec"] = {**kept, **obj["spec"]}
    return whole


def _taken(ref: Ref) -> Blocked:
    return Blocked("NameTaken", f"{ref.display_name} exists already and was not made for this Shop")


def _refused(ref: Ref, error: ApiError) -> Blocked | ApiError:
    """What a moment does not cure is a Blocked; the rest keeps its kind. Both name the object."""
    message = f"{ref.display_name}: {error.message}"
    if error.status in (400, 403, 404, 405, 413, 422):
        return Blocked("Forbidden" if error.status == 403 else "Refused", message)
    error.message = message
    return error
