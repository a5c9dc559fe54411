"""`helm install` makes a working shop, in pods of the Pod Security Standard "restricted"."""

from __future__ import annotations

import pytest

from tests.integration.buyers import ends_as, new_product, order, stock_of
from tests.kubernetes import images
from tests.kubernetes.auditing import assert_clean
from tests.kubernetes.kube import CHART, SERVICES, CommandFailed, Release, is_ready, run
from tests.load.shoppers import Shop

STORES = ("postgres", "nats", "valkey")
UNPRIVILEGED = 10_000


@pytest.mark.parametrize("component", [*SERVICES, *STORES])
def test_every_component_is_ready(release: Release, component: str) -> None:
    pods = release.pods(component)
    assert pods
    assert all(is_ready(pod) for pod in pods)


@pytest.mark.parametrize("noun", SERVICES)
def test_a_service_is_an_unprivileged_process_without_a_writable_root(release: Release, noun: str) -> None:
    tried = (
        "import os\nprint(os.getuid())\ntry:\n open('/app/x', 'w')\nexcept OSError as error:\n print(error.strerror)"
    )
    uid, *refusal = release.python(noun, tried).splitlines()
    assert int(uid) >= UNPRIVILEGED
    assert refusal == ["Read-only file system"]


def test_no_pod_has_a_service_account_token(release: Release) -> None:
    listed = release.python("order", "import os; print(os.path.exists('/var/run/secrets/kubernetes.io'))")
    assert listed.strip() == "False"


def test_passwords_are_only_in_secrets(release: Release) -> None:
    secrets = [release.secret("postgres", "password"), release.secret("shop-admin", "password")]
    visible = release.kubectl("get", "pods,deployments,statefulsets,jobs,configmaps", "-o", "yaml")
    assert [secret for secret in secrets if secret in visible] == []


def test_helm_test_passes(release: Release) -> None:
    try:
        assert "Succeeded" in release.helm("test", release.name, "--timeout", "180s")
    except CommandFailed:
        print(release.kubectl("logs", "helm-test"))
        raise
    finally:
        # Helm keeps the objects of a failed test, and test_6_uninstall expects an empty namespace.
        release.kubectl("delete", "pod,configmap", "helm-test", "--ignore-not-found")


async def test_a_customer_buys_a_book_through_the_gateway(release: Release, api: Shop, admin: str) -> None:
    books = (await api.call("GET", "/products?category=novel&limit=5"))["items"]
    assert books, "the catalogue was not loaded"
    [buyer] = await api.sign_up_many(1)
    product = await new_product(api, admin, 3)
    answer = await order(api, buyer, product["id"], quantity=2)
    assert answer.status == 201, answer.body
    assert await ends_as(api, answer) == "confirmed"
    assert await stock_of(api, product["id"]) == 1
    await assert_clean(release)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ("order.replica=2", "replica"),
        ("services.order.replicas=many", "replicas"),
        ("database.mode=Bundeld", "mode"),
        ("gatway.replicas=2", "gatway"),
        ("messaging.mode=External", "global.secrets.nats"),
    ],
)
def test_an_invalid_value_is_refused_by_its_name(namespace: str, given: str, named: str) -> None:
    values = ("--set", f"global.image.registry={images.REGISTRY},{given}")
    with pytest.raises(CommandFailed) as refused:
        run("helm", "install", "wrong", str(CHART), "--namespace", namespace, "--dry-run=client", *values)
    assert named in str(refused.value)


def test_the_images_are_those_of_this_checkout(release: Release) -> None:
    running = {pod["spec"]["containers"][0]["image"] for noun in SERVICES for pod in release.pods(noun)}
    assert running == {f"{images.REGISTRY}/shop-{noun}:{images.version()}" for noun in SERVICES}
