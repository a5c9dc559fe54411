"""Memory of the pods, from the kubelet's statistics."""

from __future__ import annotations

import json

from tests.kubernetes.kube import Release, run

MIB = 1 << 20


def of_pods(release: Release) -> dict[str, int]:
    """Working set in MiB by component, and the `total`; the kubelet's summary, which needs no metrics server."""
    found: dict[str, int] = {}
    for node in json.loads(run("kubectl", "get", "nodes", "-o", "json"))["items"]:
        path = f"/api/v1/nodes/{node['metadata']['name']}/proxy/stats/summary"
        for pod in json.loads(run("kubectl", "get", "--raw", path))["pods"]:
            if pod["podRef"]["namespace"] == release.namespace:
                for container in pod.get("containers", []):
                    used = container.get("memory", {}).get("workingSetBytes", 0)
                    found[container["name"]] = found.get(container["name"], 0) + round(used / MIB)
    return {**dict(sorted(found.items())), "total": sum(found.values())}
