"""Releases of charts/shop on a real API server: what `helm install` finds there already."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from shop.operator.kube.client import Kube
from shop.operator.kube.kinds import Kind
from tests.charts import helm
from tests.charts.rendering import registry

SERVICE = Kind("v1", "Service", "services")
SECRET = Kind("v1", "Secret", "secrets")
HELM_TIMEOUT_S = 120
Helm = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def helm_in(kubeconfig: Path, namespace: str) -> Helm:
    """Helm in the test's namespace; the caller looks at the exit status."""

    def run(command: str, release: str, *options: str) -> subprocess.CompletedProcess[str]:
        given = (command, release, "charts/shop", *registry("shop")) if command == "install" else (command, release)
        return subprocess.run(
            [helm.helm(), *given, "--namespace", namespace, *options],
            env={**os.environ, "KUBECONFIG": str(kubeconfig)},
            cwd=helm.ROOT,
            capture_output=True,
            text=True,
            check=False,
            timeout=HELM_TIMEOUT_S,
        )

    return run


async def objects(api: Kube, namespace: str) -> set[str]:
    found = [*await api.list(SERVICE, namespace), *await api.list(SECRET, namespace)]
    return {f"{one['metadata']['name']} {one['metadata']['resourceVersion']}" for one in found}


async def test_a_second_release_in_the_namespace_is_refused_and_changes_nothing(
    helm_in: Helm, api: Kube, namespace: str
) -> None:
    first = helm_in("install", "books")
    assert first.returncode == 0, first.stderr
    before = await objects(api, namespace)
    second = helm_in("install", "tools")
    assert second.returncode != 0
    assert f"namespace {namespace} already has the shop of release books (its Service gateway)" in second.stderr
    assert "set global.namePrefix" in second.stderr
    assert await objects(api, namespace) == before
    prefixed = helm_in("install", "tools", "--set", "global.namePrefix=tools")
    assert prefixed.returncode == 0, prefixed.stderr
    assert before < await objects(api, namespace)


async def test_secrets_of_an_uninstalled_release_are_named_with_the_way_to_delete_them(
    helm_in: Helm, namespace: str
) -> None:
    assert helm_in("install", "books").returncode == 0
    assert helm_in("uninstall", "books").returncode == 0
    other = helm_in("install", "tools")
    assert (
        f"kubectl -n {namespace} delete secret,persistentvolumeclaim -l app.kubernetes.io/instance=books"
        in other.stderr
    )
    same = helm_in("install", "books")
    assert same.returncode == 0, same.stderr
