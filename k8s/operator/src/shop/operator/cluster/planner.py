"""What applying a Shop would do: every object is applied to the API server as a dry run and compared.

The objects come from the operator's own render function and the deletions from the Shop's inventory, so the plan is
what the operator would do.
"""

import asyncio
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from shop.operator.cluster import operator_images
from shop.operator.cluster.diff import changes
from shop.operator.cluster.plan_result import Action, Item, Plan
from shop.operator.cluster.session import FORBIDDEN, Session, refusal
from shop.operator.engine.cache.store import SEED_SUFFIX, owning_shop, seed_of
from shop.operator.engine.reconcile import preflight
from shop.operator.engine.reconcile.apply import is_field_conflict, merged
from shop.operator.engine.reconcile.history import SEED_BYTES
from shop.operator.engine.render.renderer import HelmNotFound, Renderer, find_charts, find_helm
from shop.operator.engine.render.values import RenderError
from shop.operator.engine.status.shop_view import Entry, ShopView
from shop.operator.errors import ShopctlError
from shop.operator.kube.api_errors import ApiError, Conflict, Invalid, NotFound
from shop.operator.kube.kinds import DEPLOYMENT, SECRET, SHOP, kind_of, wave_of
from shop.operator.kube.objects import SHOP_LABEL, NamespacedName, Object, Ref
from shop.operator.program import shopctl
from shop.operator.resource import shopfile
from shop.operator.resource.spec import Shop

ADMISSION_TRIES = 5


@dataclass(frozen=True, slots=True)
class Seed:
    """The seed of the Shop's passwords; `known` False: a random one, so that values of Secrets mean nothing."""

    value: bytes
    known: bool
    note: str = ""


async def make(session: Session, file: Path) -> Plan:
    """The plan for the Shop in `file`; ShopctlError when the file or the API server's admission has an objection."""
    shop = shopfile.load(file)
    key = NamespacedName(_namespace(session, shop, file), shop.metadata.name)
    live = await session.kube.get(SHOP, key.namespace, key.name)
    wanted = await _admitted(session, shop, key, live)
    seed = await _seed(session, key, is_new=live is None)
    try:
        chosen = await operator_images.choice(session, key, live)
        renderer = Renderer(find_helm(), find_charts(), chosen.version, images=chosen.images)
        renderer.kube_version = await preflight.cluster_version(session.kube)
        optional = await preflight.optional_kinds(session.kube)
        objects = await renderer.render(
            shop, key.namespace, live["metadata"]["uid"] if live else "", seed.value, optional
        )
    except RenderError as error:
        raise ShopctlError(f"{file}: {error}") from error
    except HelmNotFound as error:
        raise ShopctlError(str(error)) from error
    uids = {ref: entry.uid for ref, entry in ShopView.of(live).inventory.items()} if live else {}
    applied = await asyncio.gather(*(_applied(session, key, obj, seed, uids.get(Ref.of(obj), "")) for obj in objects))
    pruned = await _pruned(session, live, {Ref.of(obj) for obj in objects})
    head = _shop_item(live, wanted, await _missing(session, key, shop, live))
    return Plan(
        key,
        live is None,
        [head, *applied, *pruned],
        [*filter(None, (chosen.note, seed.note)), *_notes(live or {}, wanted)],
    )


def _namespace(session: Session, shop: Shop, file: Path) -> str:
    written = shop.metadata.namespace
    if written and session.namespace_given and written != session.namespace:
        raise ShopctlError(f"{file}: metadata.namespace is {written}, but --namespace says {session.namespace}")
    return written or session.namespace


async def _admitted(session: Session, shop: Shop, key: NamespacedName, live: Object | None) -> Object:
    """The Shop with all defaults, as the API server would store it in place of the live one."""
    wanted = shop.model_dump(by_alias=True, exclude_unset=True, mode="json")
    wanted["metadata"] = {**wanted["metadata"], "namespace": key.namespace}
    try:
        if live is None:
            return await session.kube.apply(SHOP, wanted, force=True, dry_run=True)
        return await _in_place_of(session, key, live, wanted)
    except NotFound as error:
        raise ShopctlError(f"{refusal(error)}; `kubectl create namespace {key.namespace}` makes it") from error
    except ApiError as error:
        reason = refusal(error).partition(" is invalid: ")[2] or refusal(error)
        raise ShopctlError(f"the API server refuses the Shop: {reason}") from error


async def _in_place_of(session: Session, key: NamespacedName, live: Object, wanted: Object) -> Object:
    """Retried, because the operator may write the status at the same moment."""
    for _ in range(ADMISSION_TRIES - 1):
        try:
            return await session.kube.replace(SHOP, _over(live, wanted), dry_run=True)
        except Conflict:
            live = await session.kube.get(SHOP, key.namespace, key.name) or live
    return await session.kube.replace(SHOP, _over(live, wanted), dry_run=True)


def _over(live: Object, wanted: Object) -> Object:
    """As `kubectl apply` keeps what the file does not set: metadata, and `suspend`, which `shopctl suspend` sets."""
    spec = {"suspend": live["spec"].get("suspend", False), **wanted.get("spec", {})}
    kept = ("resourceVersion", "labels", "annotations", "finalizers", "ownerReferences")
    metadata = {name: live["metadata"][name] for name in kept if name in live["metadata"]}
    return {**wanted, "metadata": {**metadata, **wanted["metadata"]}, "spec": spec}


async def _seed(session: Session, key: NamespacedName, *, is_new: bool) -> Seed:
    random_seed = Seed(secrets.token_bytes(SEED_BYTES), known=False)
    try:
        found = await session.kube.get(SECRET, key.namespace, key.name + SEED_SUFFIX)
    except ApiError as error:
        if error.status != FORBIDDEN:
            raise
        return Seed(
            random_seed.value, False, f"no right to read Secret {key.name}{SEED_SUFFIX}, so of Secrets only keys"
        )
    value = seed_of(found) if found else None
    if value is None:
        return (
            random_seed
            if is_new
            else Seed(random_seed.value, False, "the Shop has no seed yet: of Secrets only keys count")
        )
    return Seed(value, known=True)


async def _applied(session: Session, key: NamespacedName, obj: Object, seed: Seed, uid: str) -> Item:
    """What applying one object would change; `uid` is what the inventory has of it."""
    kind, ref, wave = kind_of(obj), Ref.of(obj), wave_of(obj).name.lower()
    try:
        live = await session.kube.get(kind, key.namespace, ref.name)
        after = await _dry_run(session, key, obj, live, uid)
    except ApiError as error:
        if error.status == FORBIDDEN and kind is SECRET:
            return Item(Action.UNKNOWN, ref, wave, message="no right to read or write Secrets")
        return Item(Action.REFUSE, ref, wave, message=refusal(error))
    if live is None:
        return Item(Action.CREATE, ref, wave)
    found = [
        change
        for change in changes(live, after, values_known=seed.known)
        if not (kind is DEPLOYMENT and change.path == "spec.replicas" and "replicas" not in obj["spec"])
    ]
    return Item(Action.CHANGE if found else Action.NONE, ref, wave, found)


async def _dry_run(session: Session, key: NamespacedName, obj: Object, live: Object | None, uid: str) -> Object:
    """The object after an apply by the rules of the operator: foreign objects are not overwritten."""
    kind, meta = kind_of(obj), live["metadata"] if live else {}
    ours = live is not None and (owning_shop(meta) == key or meta["uid"] == uid)
    other = meta.get("labels", {}).get(SHOP_LABEL, key.name)
    if not ours and other != key.name:
        raise Conflict(0, "NameTaken", f"belongs to the Shop {other}")
    try:
        return await session.kube.apply(kind, obj, force=ours, dry_run=True)
    except Conflict as error:
        if not is_field_conflict(error):
            raise
        raise Conflict(error.status, "NameTaken", "exists already and was not made for this Shop") from error
    except Invalid:
        if live is None or not ours:
            raise
        return await session.kube.replace(kind, merged(live, obj), dry_run=True)


async def _pruned(session: Session, live: Object | None, rendered: set[Ref]) -> list[Item]:
    """What the inventory has and the new set has not, if it is still there."""
    if live is None:
        return []
    view = ShopView.of(live)
    gone = [entry for ref, entry in sorted(view.inventory.items()) if ref not in rendered]
    found = await asyncio.gather(*(_exists(session, view.key, entry) for entry in gone))
    return [Item(Action.DELETE, entry.ref) for entry, there in zip(gone, found, strict=True) if there]


async def _exists(session: Session, key: NamespacedName, entry: Entry) -> bool:
    """Whether the very object is there that was applied; another one of that name is left alone."""
    try:
        live = await session.kube.get(kind_of(entry.ref), key.namespace, entry.ref.name)
    except KeyError:
        return False
    return live is not None and entry.uid in ("", live["metadata"]["uid"])


async def _missing(session: Session, key: NamespacedName, shop: Shop, live: Object | None) -> str:
    """What the Shop names and the cluster lacks, for which the operator would wait; "" when that is unknown."""
    try:
        view = ShopView.of(live) if live else None
        restored = view is not None and view.restored
        found = await preflight.missing(session.kube, key.namespace, shop.spec, restored=restored)
    except ApiError as error:
        if error.status != FORBIDDEN:
            raise
        return ""
    return f"spec.{found[1]}" if found else ""


def _shop_item(live: Object | None, wanted: Object, missing: str) -> Item:
    ref = Ref.of(wanted)
    if live is None:
        return Item(Action.REFUSE if missing else Action.CREATE, ref, message=missing)
    found = changes(live, wanted)
    action = Action.REFUSE if missing else Action.CHANGE if found else Action.NONE
    return Item(action, ref, changes=found, message=missing)


def _notes(live: Object, wanted: Object) -> Iterable[str]:
    if "deletionTimestamp" in live.get("metadata", {}):
        yield "the Shop is being deleted; nothing of this will be applied"
    if wanted["spec"].get("suspend"):
        yield f"the Shop is suspended; nothing of this is applied until `{shopctl()} resume`"
