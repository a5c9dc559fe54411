"""`helm uninstall` keeps volumes and passwords, as docs/kubernetes.md says, and a new installation uses them."""

from __future__ import annotations

from shop.devkit.testing import wait_until
from shop.operator.kube.kinds import SHOP
from tests.integration.buyers import ends_as, new_product, order
from tests.kubernetes.auditing import assert_clean
from tests.kubernetes.kube import Release, run
from tests.load.shoppers import Shop

GONE_WITHIN_S = 120.0
STAYS = {"PersistentVolumeClaim", "Secret"}
# Objects that every namespace has, and those of the control plane.
NOT_OURS = {("ConfigMap", "kube-root-ca.crt"), ("ServiceAccount", "default")}
NOT_OUR_KINDS = {"Event", "EndpointSlice", "Endpoints", "PodMetrics", "Lease"}


def left(release: Release) -> set[tuple[str, str]]:
    """Kind and name of every object in the namespace but Shops, whose definition other tests make and delete."""
    found = run("kubectl", "api-resources", "--namespaced", "--verbs=list", "-o", "name").split()
    kinds = [kind for kind in found if not kind.endswith(f".{SHOP.group}")]
    listed = release.kubectl(
        "get",
        ",".join(kinds),
        "--ignore-not-found",
        "-o",
        "jsonpath={range .items[*]}{.kind} {.metadata.name}{'\\n'}{end}",
    )
    objects = {(kind, name) for kind, name in (line.split() for line in listed.splitlines())}
    return {one for one in objects - NOT_OURS if one[0] not in NOT_OUR_KINDS}


async def test_uninstall_keeps_volumes_and_passwords_and_the_next_shop_uses_them(
    release: Release, api: Shop, admin: str
) -> None:
    product = await new_product(api, admin, 5)
    [buyer] = await api.sign_up_many(1)
    answer = await order(api, buyer, product["id"])
    assert await ends_as(api, answer) == "confirmed"
    release.helm("uninstall", release.name, "--wait")
    await wait_until(lambda: {kind for kind, _ in left(release)} <= STAYS, GONE_WITHIN_S, "an empty namespace")
    kept = left(release)
    assert {name for kind, name in kept if kind == "Secret"} >= {"postgres", "shop-admin"}
    assert {kind for kind, _ in kept} == STAYS
    release.upgrade()
    assert await ends_as(api, answer) == "confirmed"
    await assert_clean(release)
    release.helm("uninstall", release.name, "--wait")
    await wait_until(lambda: {kind for kind, _ in left(release)} <= STAYS, GONE_WITHIN_S, "an empty namespace")
    assert left(release) == kept
