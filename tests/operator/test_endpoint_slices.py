"""Services find each other by EndpointSlices with the least rights, and by DNS without them, at a real API server."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from shop.devkit.testing import wait_until
from shop.kit.balancing.instance import About
from shop.kit.discovery.dns import DnsDiscovery
from shop.kit.discovery.kubernetes import EndpointSlices
from shop.kit.tasks import Tasks
from shop.operator.kube.client import Kube
from shop.operator.kube.kinds import Kind
from tests.operator.apiserver import ApiServer

RBAC = "rbac.authorization.k8s.io/v1"
NAMESPACE = Kind("v1", "Namespace", "namespaces")
ACCOUNT = Kind("v1", "ServiceAccount", "serviceaccounts")
ROLE, BINDING = Kind(RBAC, "Role", "roles"), Kind(RBAC, "RoleBinding", "rolebindings")
SLICE = Kind("discovery.k8s.io/v1", "EndpointSlice", "endpointslices")
RULES = [{"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]}]
URL = "http://books-order:8000"


class Follower:
    """A process of the shop that follows the service order; DNS knows one address."""

    def __init__(self, api_url: str, account: Path) -> None:
        self.seen: list[Mapping[str, About]] = []
        self.tasks = Tasks()
        self._discovery = EndpointSlices(DnsDiscovery(self._resolve, every_s=0.05), api_url, account)

    async def _resolve(self, host: str, port: int) -> list[str]:
        return ["10.9.9.9"]

    def start(self) -> None:
        self._discovery.start(self.tasks)
        self._discovery.follow("order", [URL], self.seen.append)

    @property
    def found(self) -> set[str]:
        return set(self.seen[-1]) if self.seen else set()


async def account_of(api: Kube, apiserver: ApiServer, namespace: str, folder: Path) -> Path:
    """What the kubelet mounts into a pod of the service account `caller`."""
    named = {"metadata": {"name": "caller", "namespace": namespace}}
    await api.create(ACCOUNT, {"apiVersion": "v1", "kind": "ServiceAccount", **named})
    tokens = Kind("v1", "TokenRequest", "serviceaccounts/caller/token")
    request = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", **named, "spec": {}}
    token = (await api.create(tokens, request))["status"]["token"]
    for name, text in (("token", token), ("namespace", namespace), ("ca.crt", apiserver.authority.path.read_text())):
        (folder / name).write_text(text)
    return folder


async def allow(api: Kube, namespace: str) -> None:
    """The least rights: no other verb, no other kind, no other namespace."""
    metadata = {"name": "caller", "namespace": namespace}
    await api.create(ROLE, {"apiVersion": RBAC, "kind": "Role", "metadata": metadata, "rules": RULES})
    binding = {
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "caller"},
        "subjects": [{"kind": "ServiceAccount", "name": "caller", "namespace": namespace}],
    }
    await api.create(BINDING, {"apiVersion": RBAC, "kind": "RoleBinding", "metadata": metadata, **binding})


def endpoint_slice(namespace: str, service: str, *addresses: str, not_ready: tuple[str, ...] = ()) -> dict[str, Any]:
    endpoints = [
        {
            "addresses": [address],
            "conditions": {"ready": address not in not_ready},
            "targetRef": {"kind": "Pod", "name": f"{service}-{address.rpartition('.')[2]}"},
            "zone": "west",
        }
        for address in addresses
    ]
    return {
        "apiVersion": SLICE.api_version,
        "kind": SLICE.kind,
        "metadata": {
            "name": f"{service}-1",
            "namespace": namespace,
            "labels": {"kubernetes.io/service-name": service},
        },
        "addressType": "IPv4",
        "ports": [{"name": "metrics", "port": 9_090}, {"name": "http", "port": 8_001}],
        "endpoints": endpoints,
    }


@pytest.fixture
async def follower(api: Kube, apiserver: ApiServer, namespace: str, tmp_path: Path) -> AsyncIterator[Follower]:
    made = Follower(apiserver.url, await account_of(api, apiserver, namespace, tmp_path))
    yield made
    await made.tasks.stop()


async def test_with_the_right_to_watch_ready_pods_are_found_as_they_come_and_go(
    api: Kube, namespace: str, follower: Follower
) -> None:
    await allow(api, namespace)
    await api.create(SLICE, endpoint_slice(namespace, "books-order", "10.0.0.1", "10.0.0.2", not_ready=("10.0.0.2",)))
    await api.create(SLICE, endpoint_slice(namespace, "books-user", "10.0.0.8"))
    follower.start()
    await wait_until(lambda: follower.found == {"http://10.0.0.1:8001"})
    assert list(follower.seen[-1].values()) == [About(id="books-order-1", zone="west")]
    await api.apply(SLICE, endpoint_slice(namespace, "books-order", "10.0.0.2", "10.0.0.3"), force=True)
    await wait_until(lambda: follower.found == {"http://10.0.0.2:8001", "http://10.0.0.3:8001"})
    await api.delete(SLICE, namespace, "books-order-1")
    await api.create(SLICE, {**endpoint_slice(namespace, "books-order", "10.0.0.4")})
    await wait_until(lambda: follower.found == {"http://10.0.0.4:8001"})
    assert all(follower.seen), "the last known instances stay"


async def test_without_the_right_dns_is_used_and_the_log_says_so_once(
    api: Kube, namespace: str, follower: Follower, caplog: pytest.LogCaptureFixture
) -> None:
    await api.create(SLICE, endpoint_slice(namespace, "books-order", "10.0.0.1"))
    with caplog.at_level(logging.WARNING):
        follower.start()
        await wait_until(lambda: len(follower.seen) > 3)
    assert follower.found == {"http://10.9.9.9:8000"}
    events = [getattr(record, "event", "") for record in caplog.records]
    assert events.count("discovery_not_allowed") == 1
