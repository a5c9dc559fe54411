"""What a service must not be able to do, tried from its pod."""

from __future__ import annotations

import json

import pytest

from shop.devkit.testing import wait_until
from shop.operator.services import WITH_DATABASE
from tests.kubernetes import images
from tests.kubernetes.kube import Release

ENFORCED_WITHIN_S = 15.0
CLOSED_POD = "closed"

TRY_DATABASE = """
import asyncio, os, sys, asyncpg
from urllib.parse import urlsplit
url = urlsplit(os.environ["SHOP_DATABASE_URL"])._replace(path="/" + sys.argv[1]).geturl()
async def main():
    try:
        connection = await asyncpg.connect(url, timeout=10)
    except asyncpg.PostgresError as error:
        print(type(error).__name__, error)
    else:
        print("connected", await connection.fetchval("SELECT current_database()"))
asyncio.run(main())
"""
TRY_PORT = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=3).close()
except OSError as error:
    print("refused", type(error).__name__)
else:
    print("connected")
"""


def tries(release: Release, noun: str, code: str, *arguments: str) -> str:
    return release.kubectl("exec", f"deploy/{noun}", "-c", noun, "--", "python", "-c", code, *arguments).strip()


@pytest.mark.parametrize(("noun", "other"), [("order", "payment"), ("product", "order"), ("user", "notification")])
def test_a_service_can_only_connect_to_its_own_database(release: Release, noun: str, other: str) -> None:
    assert tries(release, noun, TRY_DATABASE, f"shop_{noun}") == f"connected shop_{noun}"
    refusal = tries(release, noun, TRY_DATABASE, f"shop_{other}")
    assert "InsufficientPrivilegeError" in refusal
    assert f'permission denied for database "shop_{other}"' in refusal


def test_each_service_has_its_own_role_and_secret(release: Release) -> None:
    assert len({release.secret(f"database-{noun}", "username") for noun in WITH_DATABASE}) == len(WITH_DATABASE)
    assert len({release.secret(f"database-{noun}", "password") for noun in WITH_DATABASE}) == len(WITH_DATABASE)


@pytest.fixture(scope="module")
async def enforced(release: Release) -> None:
    """Skips where the cluster does not enforce NetworkPolicies; tried once, since it takes `ENFORCED_WITHIN_S`."""
    release.kubectl("apply", "-f", "-", stdin=json.dumps(CLOSED))
    try:
        release.kubectl("wait", "--for=condition=Ready", f"pod/{CLOSED_POD}", "--timeout=60s")
        address = release.get("pod", CLOSED_POD)["status"]["podIP"]
        await wait_until(
            lambda: tries(release, "storefront", TRY_PORT, address, "8000") != "connected", ENFORCED_WITHIN_S
        )
    except AssertionError:
        pytest.skip("not enforced here: this cluster's network ignores NetworkPolicies")
    finally:
        release.kubectl("delete", "pod,networkpolicy", CLOSED_POD, "--now", "--ignore-not-found")


@pytest.mark.usefixtures("enforced")
@pytest.mark.parametrize(
    ("noun", "host", "port"),
    [
        ("storefront", "postgres", "5432"),
        ("gateway", "nats", "4222"),
        ("order", "valkey", "6379"),
        ("product", "payment", "8000"),
    ],
)
def test_undeclared_callers_cannot_connect(release: Release, noun: str, host: str, port: str) -> None:
    assert tries(release, noun, TRY_PORT, host, port).startswith("refused")


@pytest.mark.parametrize(
    ("noun", "host", "port"),
    [
        ("order", "postgres", "5432"),
        ("product", "nats", "4222"),
        ("storefront", "valkey", "6379"),
        ("order", "payment", "8000"),
    ],
)
def test_declared_callers_can_connect(release: Release, noun: str, host: str, port: str) -> None:
    assert tries(release, noun, TRY_PORT, host, port) == "connected"


CLOSED = {
    "apiVersion": "v1",
    "kind": "List",
    "items": [
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": CLOSED_POD, "labels": {"app": CLOSED_POD}},
            "spec": {
                "automountServiceAccountToken": False,
                "securityContext": {
                    "runAsNonRoot": True,
                    "runAsUser": 10001,
                    "seccompProfile": {"type": "RuntimeDefault"},
                },
                "containers": [
                    {
                        "name": "listener",
                        "image": f"{images.REGISTRY}/shop-gateway:{images.version()}",
                        "command": ["python", "-m", "http.server", "8000", "--directory", "/tmp"],
                        "readinessProbe": {"exec": {"command": ["true"]}},
                        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
                    }
                ],
            },
        },
        {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {"name": CLOSED_POD},
            "spec": {"podSelector": {"matchLabels": {"app": CLOSED_POD}}, "policyTypes": ["Ingress"]},
        },
    ],
}
