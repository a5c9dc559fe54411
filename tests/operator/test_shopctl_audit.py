"""`shopctl audit` of a Shop: real databases and a real broker behind a real API server."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import asyncpg
import pytest

from shop.devkit import embedded
from shop.devkit.testing import DatabaseFor
from shop.operator.audit.model import Options
from shop.operator.cluster import audit_endpoints
from shop.operator.cluster.session import Session
from shop.operator.errors import ShopctlError
from shop.operator.kube.kinds import DEPLOYMENT, POD, SECRET, SERVICE
from shop.operator.kube.objects import SHOP_LABEL, Object
from shop.operator.services import WITH_DATABASE
from tests.operator import node as nodes
from tests.operator import shopctl
from tests.operator.node import Node

Urls = dict[str, str]


@pytest.fixture
async def shop(session: Session) -> Object:
    """A Shop without objects."""
    return await shopctl.bare(session)


def behind(url: str, host: str, port: int) -> str:
    """The same login and database at an address of the cluster."""
    scheme, _, rest = url.partition("://")
    login, _, place = rest.rpartition("@")
    return f"{scheme}://{login}@{host}:{port}{'/' + place.partition('/')[2] if '/' in place else ''}"


def port_of(url: str) -> int:
    return int(url.rpartition("@")[2].partition("/")[0].rpartition(":")[2])


async def store(session: Session, node: Node, noun: str, port: int) -> None:
    """A Service with a pod of that store."""
    body = shopctl.pod(session.namespace, f"bookshop-{noun}-0", noun)
    body["spec"]["containers"][0]["ports"][0]["containerPort"] = port
    await nodes.run_pod(session.kube, body, node)
    spec = {
        "selector": {SHOP_LABEL: "bookshop", "app.kubernetes.io/name": noun},
        "ports": [{"name": noun, "port": port, "targetPort": noun}],
    }
    metadata = {"name": f"bookshop-{noun}", "namespace": session.namespace}
    await session.kube.create(SERVICE, {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec})


async def told(session: Session, noun: str, **urls: str) -> None:
    """A service's Deployment whose variables come from a Secret, as the chart makes them."""
    name, labels = f"bookshop-{noun}", {"app.kubernetes.io/name": noun}
    encoded = {variable: base64.b64encode(url.encode()).decode() for variable, url in urls.items()}
    metadata = {"name": name, "namespace": session.namespace}
    await session.kube.create(SECRET, {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "data": encoded})
    env = [
        {"name": variable, "valueFrom": {"secretKeyRef": {"name": name, "key": variable}}} for variable in sorted(urls)
    ]
    template = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": noun, "image": "x", "env": env}]}}
    spec = {"selector": {"matchLabels": labels}, "template": template}
    body = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}
    await session.kube.create(DEPLOYMENT, body)


@pytest.fixture
async def urls(database_for: DatabaseFor, postgres: embedded.Server) -> Urls:
    found = {noun: await database_for(noun) for noun in WITH_DATABASE}
    connection = await asyncpg.connect(postgres.url)
    for database in ("postgres", "template1"):  # as the chart's provisioning does
        await connection.execute(f"REVOKE CONNECT ON DATABASE {database} FROM PUBLIC")
    await connection.close()
    return found


async def services(session: Session, urls: Urls, host: str, nats_url: str) -> None:
    for noun, url in urls.items():
        more = {"SHOP_NATS_URL": nats_url} if noun == "order" else {}
        await told(session, noun, SHOP_DATABASE_URL=behind(url, host, 5432), **more)


@pytest.mark.parametrize("in_full", [False, True])
async def test_the_audit_reaches_databases_and_broker_through_the_api_server(
    session: Session, shop: Object, node: Node, urls: Urls, nats_url: str, kubeconfig: Path, in_full: bool
) -> None:
    node.ports |= {5432: port_of(urls["order"]), 4222: port_of(nats_url)}
    await store(session, node, "postgres", 5432)
    await store(session, node, "nats", 4222)
    domain = f".{session.namespace}.svc.cluster.local" if in_full else ""
    nats = behind(nats_url, f"bookshop-nats{domain}", 4222)
    await services(session, urls, f"bookshop-postgres{domain}", nats)
    await unsound_stock(urls["product"])
    options = ("-n", session.namespace, "--kubeconfig", kubeconfig, "--json")
    done = await shopctl.run("audit", "bookshop", *options)
    assert done.err == ""
    oracles = {oracle["number"]: oracle["ok"] for oracle in json.loads(done.out)["oracles"]}
    assert list(oracles) == list(range(1, len(oracles) + 1)), "every oracle has a result"
    assert (done.code, [number for number, ok in oracles.items() if not ok]) == (1, [4])


async def unsound_stock(url: str) -> None:
    """A product that nobody delivered: what the audit is there to find, so it has really read."""
    connection = await asyncpg.connect(url)
    try:
        await connection.execute(
            "INSERT INTO products (id, sku, name, sort_name, description, category, price, currency, stock, search,"
            " created_at, updated_at) VALUES (gen_random_uuid(), 'BK-1', 'Emma', 'emma', '', 'novel', 1000, 'EUR', 7,"
            " '', now() - interval '1 hour', now() - interval '1 hour')"
        )
    finally:
        await connection.close()


async def test_external_databases_are_reached_directly(
    session: Session, shop: Object, urls: Urls, nats_url: str
) -> None:
    for noun, url in urls.items():
        await told(session, noun, SHOP_DATABASE_URL=url, SHOP_NATS_URL=nats_url)
    results, late = await audit_endpoints.audit(session, "bookshop", Options(), 1.0)
    assert late == []
    assert [result.number for result in results if not result.ok] == []


async def test_behind_a_pooler_the_server_itself_is_audited(
    session: Session, shop: Object, urls: Urls, nats_url: str
) -> None:
    for noun, url in urls.items():
        pooler = behind(url, "127.0.0.1", embedded.free_port())
        given = {"SHOP_DATABASE_URL": pooler, "SHOP_DATABASE_URL-direct": url, "SHOP_NATS_URL": nats_url}
        await told(session, noun, **given)
    results, _ = await audit_endpoints.audit(session, "bookshop", Options(), 1.0)
    assert [result.number for result in results if not result.ok] == []


async def test_a_port_at_which_nobody_listens_is_reported(
    session: Session, shop: Object, node: Node, urls: Urls, nats_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    await store(session, node, "postgres", 5432)
    await services(session, urls, "bookshop-postgres", nats_url)
    with pytest.raises(ShopctlError, match=r"the database of \w+ cannot be read"):
        await audit_endpoints.audit(session, "bookshop", Options(), 0)
    assert "port-forward: nothing listens on port 5432" in capsys.readouterr().err


async def test_a_store_without_a_ready_pod_is_named(
    session: Session, shop: Object, node: Node, urls: Urls, nats_url: str
) -> None:
    await store(session, node, "postgres", 5432)
    conditions = {"status": {"conditions": [{"type": "Ready", "status": "False"}]}}
    await session.kube.patch(POD, session.namespace, "bookshop-postgres-0", conditions, subresource="status")
    await services(session, urls, "bookshop-postgres", nats_url)
    with pytest.raises(ShopctlError, match=r"no pod of Service bookshop-postgres in namespace .* is ready"):
        await audit_endpoints.audit(session, "bookshop", Options(), 0)


async def test_a_shop_that_is_not_there_yet_cannot_be_audited(session: Session, shop: Object) -> None:
    with pytest.raises(ShopctlError, match=r"bookshop has no Deployment bookshop-\w+ to audit"):
        await audit_endpoints.audit(session, "bookshop", Options(), 0)
