"""A Shop by `kubectl apply`: it becomes ready, drift is repaired, bad changes are rolled back, deletion is complete."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial

import pytest
import yaml

from shop.devkit.testing import wait_until
from shop.operator.resource.spec import ShopSpec
from shop.operator.services import WITH_DATABASE
from tests.integration.buyers import Answer, ends_as, new_product, order
from tests.integration.rounds import play
from tests.kubernetes import images
from tests.kubernetes.conftest import Findings
from tests.kubernetes.kube import HELM_TIMEOUT_S, ROOT, run
from tests.kubernetes.operated import GONE_WITHIN_S, SAMPLES, Operated, namespace_with
from tests.kubernetes.test_6_uninstall import left
from tests.load.shoppers import Shop, ShopError

SYSTEM = "shop-operator"
NAMESPACE = "shop-operated"
TARGET_READY_S = 90
REPAIR_WITHIN_S = 60.0
UNREACHABLE_WITHIN_S = 300.0
DEADLINE_S = 60
MIN_DELIVERED = 10
ON_BOARD_WITHIN_S = 60.0
LAST_LINES = 20
ROLLED_BACK_WITHIN_S = DEADLINE_S + 120


@pytest.fixture(scope="module", autouse=True)
def operator() -> Iterator[None]:
    """The operator's chart with two replicas; uninstalled afterwards, with the CustomResourceDefinition."""
    namespace_with(SYSTEM)
    chart = str(ROOT / "charts" / "shop-operator")
    options = ("--set", f"image.registry={images.REGISTRY},image.tag={images.version()},replicas=2")
    run(
        *("helm", "upgrade", "--install", "shop-operator", chart, "--namespace", SYSTEM, *options),
        *("--wait", "--timeout", "180s"),
        timeout_s=HELM_TIMEOUT_S,
    )
    namespace_with(NAMESPACE)
    yield
    run("kubectl", "delete", "shops", "--all", "--namespace", NAMESPACE, timeout_s=GONE_WITHIN_S)
    run("helm", "uninstall", "shop-operator", "--namespace", SYSTEM, "--wait", timeout_s=HELM_TIMEOUT_S)
    for namespace in (NAMESPACE, SYSTEM):
        run("kubectl", "delete", "namespace", namespace, timeout_s=GONE_WITHIN_S)
    run("kubectl", "delete", "crd", "shops.shops.shopkeeper.dev", timeout_s=GONE_WITHIN_S)


@pytest.fixture(scope="module")
def bookshop(operator: None, findings: Findings) -> Operated:
    """The sample as it is in the repository, ready."""
    shop = Operated("bookshop", NAMESPACE)
    shop.apply()
    seconds = shop.ready()
    findings.note("seconds from kubectl apply of a Shop to Ready", seconds)
    findings.note(f"... of the {TARGET_READY_S} s aimed at", round(seconds / TARGET_READY_S, 2))
    return shop


async def bought(shop: Operated, api: Shop, email: str) -> Answer:
    """One confirmed order of a new customer."""
    product = await new_product(api, await shop.admin(api), 5)
    buyer = (await api.sign_up_many(1))[0]
    answer = await order(api, buyer, product["id"])
    assert answer.status in (201, 202), (email, answer.body)
    assert await ends_as(api, answer) == "confirmed"
    return answer


async def test_a_customer_buys_in_the_applied_shop(bookshop: Operated) -> None:
    async with bookshop.gateway() as api:
        assert (await api.call("GET", "/products?category=novel&limit=5"))["items"], "the catalogue was not loaded"
        await bought(bookshop, api, "first")
    bookshop.assert_clean()


def test_kubectl_get_shows_the_state(bookshop: Operated) -> None:
    header, line = bookshop.inside.kubectl("get", "shop", bookshop.name).splitlines()
    assert header.split()[:5] == ["NAME", "READY", "VERSION", "URL", "SERVICES"]
    assert line.split()[:2] == ["bookshop", "True"]
    count = len(ShopSpec.model_validate(bookshop.inside.get("shop", bookshop.name)["spec"]).nouns)
    assert line.split()[4] == f"{count}/{count}"
    assert "Ready" in bookshop.shopctl("status")


def test_every_pod_is_restricted_and_labelled(bookshop: Operated) -> None:
    pods = bookshop.inside.items("pods", "-l", f"shops.shopkeeper.dev/shop={bookshop.name}")
    assert len(pods) >= 11


async def test_drift_is_repaired(bookshop: Operated) -> None:
    before = bookshop.inside.get("deployment", "bookshop-order")["metadata"]["uid"]
    bookshop.inside.kubectl("delete", "deployment", "bookshop-order", "--wait=true")
    bookshop.inside.kubectl("scale", "deployment", "bookshop-product", "--replicas=3")
    bookshop.inside.kubectl("annotate", "deployment", "bookshop-pricing", "example.com/note=mine")

    def repaired() -> bool:
        found = {one["metadata"]["name"]: one for one in bookshop.inside.items("deployments")}
        again = found.get("bookshop-order", {"metadata": {"uid": before}})["metadata"]["uid"] != before
        return again and int(found["bookshop-product"]["spec"]["replicas"]) == 1

    await wait_until(repaired, REPAIR_WITHIN_S, "the deleted Deployment and the changed replicas repaired")
    bookshop.ready()
    kept = bookshop.inside.get("deployment", "bookshop-pricing")["metadata"]["annotations"]
    assert kept["example.com/note"] == "mine"
    async with bookshop.gateway() as api:
        await bought(bookshop, api, "after drift")


async def test_the_other_operator_takes_over_and_finishes_an_upgrade(bookshop: Operated) -> None:
    revision = bookshop.revision()
    bookshop.patch({"services": {"order": {"logLevel": "WARNING", "replicas": 2}}})
    lease = json.loads(run("kubectl", "get", "lease", "shop-operator", "--namespace", SYSTEM, "-o", "json"))
    leader = lease["spec"]["holderIdentity"]
    run("kubectl", "delete", "pod", leader, "--namespace", SYSTEM, "--force", "--grace-period=0", "--wait=false")
    bookshop.ready()
    assert bookshop.revision() == revision + 1
    assert bookshop.inside.get("deployment", "bookshop-order")["status"]["readyReplicas"] == 2
    bookshop.assert_clean()


async def test_an_image_that_does_not_exist_is_rolled_back_while_the_shop_sells(bookshop: Operated) -> None:
    revision = bookshop.revision()
    bad = {"services": {"storefront": {"image": f"{images.REGISTRY}/shop-storefront:nowhere"}}}
    bookshop.patch({**bad, "progressDeadlineSeconds": DEADLINE_S})
    async with bookshop.gateway() as api:
        degraded = await bookshop.comes_to("Ready", "RolledBack", ROLLED_BACK_WITHIN_S)
        assert "ImagePull" in degraded["message"]
        assert "storefront" in degraded["message"]
        await bought(bookshop, api, "after the rollback")
    assert bookshop.revision() == revision
    image = bookshop.inside.get("deployment", "bookshop-storefront")["spec"]["template"]["spec"]["containers"][0][
        "image"
    ]
    assert image.endswith(f":{images.version()}")
    bookshop.patch({"services": {"storefront": None}, "progressDeadlineSeconds": None})
    bookshop.ready()


async def test_a_migration_that_fails_changes_no_service(bookshop: Operated) -> None:
    """payment with the image of another service: the migration Job fails, and no service changes."""
    before = [(one["metadata"]["name"], one["metadata"]["generation"]) for one in bookshop.inside.items("deployments")]
    wrong = f"{images.REGISTRY}/shop-pricing:{images.version()}"
    bookshop.patch({"services": {"payment": {"image": wrong}}, "progressDeadlineSeconds": DEADLINE_S})
    failed = await bookshop.comes_to("Ready", "RolledBack", ROLLED_BACK_WITHIN_S)
    assert "payment" in failed["message"]
    after = [(one["metadata"]["name"], one["metadata"]["generation"]) for one in bookshop.inside.items("deployments")]
    assert after == before
    bookshop.patch({"services": {"payment": None}, "progressDeadlineSeconds": None})
    bookshop.ready()


async def test_retained_data_comes_back_with_the_shop(bookshop: Operated) -> None:
    async with bookshop.gateway() as api:
        answer = await bought(bookshop, api, "retained")
    bookshop.patch({"deletionPolicy": "Retain"})
    bookshop.delete()
    assert {kind for kind, _ in left(bookshop.inside)} == {"PersistentVolumeClaim", "Secret"}
    assert bookshop.inside.items("shops") == []
    bookshop.apply(deletionPolicy="Retain")
    bookshop.ready()
    async with bookshop.gateway() as api:
        assert await ends_as(api, answer) == "confirmed"
    bookshop.assert_clean()


async def test_a_backup_becomes_a_new_shop(bookshop: Operated) -> None:
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "backups"},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }
    bookshop.inside.kubectl("apply", "-f", "-", stdin=json.dumps(claim))
    backup = {"schedule": "0 3 * * *", "retention": 2, "destination": "pvc://backups/bookshop"}
    bookshop.patch({"backup": backup})
    bookshop.ready()
    async with bookshop.gateway() as api:
        answer = await bought(bookshop, api, "before the backup")
    bookshop.shopctl("backup")
    copy = Operated("copy", NAMESPACE)
    copy.apply(restoreFrom={"source": "pvc://backups/bookshop"})
    copy.ready()
    async with copy.gateway() as api:
        assert await ends_as(api, answer) == "confirmed"
        await bought(copy, api, "in the copy")
    copy.assert_clean()
    copy.delete()


async def test_a_database_elsewhere_that_cannot_be_reached_is_named(bookshop: Operated) -> None:
    urls = {noun: f"postgresql://shop:x@db.invalid:5432/shop_{noun}" for noun in WITH_DATABASE}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "elsewhere"}, "stringData": urls}
    bookshop.inside.kubectl("apply", "-f", "-", stdin=json.dumps(secret))
    lonely = Operated("lonely", NAMESPACE)
    lonely.apply(database={"mode": "External", "secretName": "elsewhere"})

    def told() -> bool:
        degraded = lonely.conditions().get("Degraded", {})
        return (
            degraded.get("status") == "True" and "the database at db.invalid cannot be reached" in degraded["message"]
        )

    await wait_until(told, UNREACHABLE_WITHIN_S, "the database named")
    assert lonely.conditions()["Ready"]["status"] == "False"
    lonely.delete()
    bookshop.inside.kubectl("delete", "secret", "elsewhere")


async def test_an_arcade_keeps_its_players_while_it_is_off(bookshop: Operated) -> None:
    """The module is added to a shop that runs: a round is played through its API, counts once, and is on the board
    again after the module was off."""
    bookshop.patch({"modules": {"arcade": True}})
    bookshop.ready()
    async with bookshop.gateway() as api:
        (player,) = await api.sign_up_many(1)
        path, body, played = await play(api, player)
        assert played["score"] > 0
        again = await api.call("POST", path, player, json=body)
        assert (again["result_id"], again["score"], again["xp"]) == (played["result_id"], played["score"], played["xp"])
        me = await api.call("GET", "/players/me", player)
        await wait_until(partial(leads, api, me["id"], played["score"]), ON_BOARD_WITHIN_S, "the round on the board")
        await wait_until(partial(has_unlocked, api, player, "first-round"), ON_BOARD_WITHIN_S, "the achievement")
        await bought(bookshop, api, "beside the game")
    bookshop.assert_clean()
    bookshop.patch({"modules": {"arcade": False}})
    bookshop.ready()
    assert "bookshop-player" not in {one["metadata"]["name"] for one in bookshop.inside.items("deployments")}
    async with bookshop.gateway() as api:
        with pytest.raises(ShopError, match="unknown_service"):
            await api.call("GET", "/leaderboards/stack")
        await bought(bookshop, api, "without the game")
    bookshop.patch({"modules": {"arcade": True}})
    bookshop.ready()
    async with bookshop.gateway() as api:
        await wait_until(partial(leads, api, me["id"], played["score"]), ON_BOARD_WITHIN_S, "the round again")
        assert await has_unlocked(api, player, "first-round")
    bookshop.assert_clean()


async def leads(api: Shop, player_id: str, score: int) -> bool:
    board = await api.call("GET", "/leaderboards/stack?top=10")
    return [(one["rank"], one["player"]["id"], one["score"]) for one in board["items"]] == [(1, player_id, score)]


async def has_unlocked(api: Shop, player: str, code: str) -> bool:
    """Whether the player has the achievement; it is listed once."""
    found = (await api.call("GET", "/achievements/me", player))["items"]
    (one,) = [one for one in found if one["code"] == code]
    return one["unlocked_at"] is not None


async def test_deletion_leaves_nothing(bookshop: Operated) -> None:
    bookshop.patch({"deletionPolicy": "Delete", "backup": None})
    bookshop.ready()
    bookshop.delete()
    mine = {(kind, name) for kind, name in left(bookshop.inside) if name != "backups"}
    assert mine == set()
    assert bookshop.inside.items("shops") == []


async def test_a_food_court_delivers_what_a_fleet_orders(operator: None, findings: Findings) -> None:
    """The sample Shop and the sample Job, but for their length: every order that was accepted arrives.

    The bookshop is gone: a node of two CPUs has no room for both beside the release's shop.
    """
    shop = Operated("foodcourt", NAMESPACE, "foodcourt")
    shop.apply()
    findings.note("seconds from kubectl apply of a food court to Ready", shop.ready())
    job = yaml.safe_load((SAMPLES / "jobs" / "fleet.yaml").read_text(encoding="utf-8"))
    container = job["spec"]["template"]["spec"]["containers"][0]
    container["image"] = f"{images.REGISTRY}/shop-operator:{images.version()}"
    few = ["--couriers=8", "--orders-per-minute=60", "--minutes=0.4", "--time-factor=30"]
    container["args"] = [container["args"][0], *few]
    shop.inside.kubectl("apply", "-f", "-", stdin=json.dumps(job))
    shop.inside.kubectl("wait", "--for=condition=Complete", "job/fleet", "--timeout=300s", timeout_s=310)
    orders = json.loads(shop.inside.kubectl("logs", "job/fleet").strip().splitlines()[-1])["orders"]
    findings.note("food orders placed and delivered by the fleet", f"{orders['placed']}, {orders['delivered']}")
    assert orders["delivered"] >= MIN_DELIVERED, orders
    shop.assert_clean()
    shop.inside.kubectl("delete", "job", "fleet")
    shop.delete()


def test_no_operator_had_to_be_restarted(operator: None) -> None:
    pods = json.loads(run("kubectl", "get", "pods", "--namespace", SYSTEM, "-o", "json"))["items"]
    restarts = {pod["metadata"]["name"]: pod["status"]["containerStatuses"][0]["restartCount"] for pod in pods}
    assert len(restarts) == 2
    assert set(restarts.values()) == {0}, "\n".join(last_words(pod) for pod, count in restarts.items() if count)


def last_words(pod: str) -> str:
    """What the container that ended has logged at last."""
    return run("kubectl", "logs", "--namespace", SYSTEM, pod, "--previous", f"--tail={LAST_LINES}")
