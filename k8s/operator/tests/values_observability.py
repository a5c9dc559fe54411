"""What a Shop says about its observation, and of its scaling by what is observed, and where it is in the values."""

from __future__ import annotations

from typing import Any

from k8s.operator.tests.shop_specs import Spec

# A spec, a path in the values, and what must be there.
OBSERVED: list[tuple[Spec, str, Any]] = [
    ({}, "global.monitorLabels", {}),
    ({"observability": {"labels": {"release": "prometheus"}}}, "global.monitorLabels", {"release": "prometheus"}),
    ({}, "global.serviceMonitors", "Never"),
    ({"observability": {"serviceMonitors": True}}, "global.serviceMonitors", "Always"),
    ({"observability": {"rules": True}}, "rules", {"enabled": True}),
    ({"observability": {"dashboards": True}}, "dashboards", {"enabled": True}),
    (
        {
            "observability": {
                "dashboards": True,
                "dashboardLabels": {"grafana": "main"},
                "dashboardAnnotations": {"grafana_folder": "Our shops"},
            }
        },
        "dashboards",
        {"enabled": True, "labels": {"grafana": "main"}, "annotations": {"grafana_folder": "Our shops"}},
    ),
    ({}, "serviceDefaults", {"migrations": {"mode": "Job"}}),
    ({"observability": {"scrapeIntervalSeconds": 30}}, "serviceDefaults.serviceMonitor.interval", "30s"),
    (
        {"services": {"order": {"autoscaling": {"maxReplicas": 3, "targetRequestsPerSecond": 50}}}},
        "services.order.autoscaling",
        {
            "enabled": True,
            "minReplicas": 1,
            "maxReplicas": 3,
            "targetCPUUtilizationPercentage": 70,
            "targetRequestsPerSecond": 50,
        },
    ),
    ({}, "global.tracing", {}),
    (
        {"observability": {"tracing": {"endpoint": "http://o:4318", "sampleRatio": 0.5}}},
        "global.tracing",
        {"endpoint": "http://o:4318", "sampleRatio": 0.5},
    ),
    (
        {"networkPolicies": True, "observability": {"serviceMonitors": True}},
        "global.networkPolicies.scrapeFrom.0.podSelector.matchLabels",
        {"app.kubernetes.io/name": "prometheus"},
    ),
    (
        {"observability": {"scrapeFrom": {"namespaceLabels": {"team": "watch"}}}},
        "global.networkPolicies.scrapeFrom",
        [
            {
                "namespaceSelector": {"matchLabels": {"team": "watch"}},
                "podSelector": {"matchLabels": {"app.kubernetes.io/name": "prometheus"}},
            }
        ],
    ),
    (
        {"observability": {"serviceMonitors": True, "scrapeFrom": {"podLabels": {"app": "agent"}}}},
        "global.networkPolicies.scrapeFrom",
        [{"namespaceSelector": {}, "podSelector": {"matchLabels": {"app": "agent"}}}],
    ),
    (
        {"networkPolicies": False, "observability": {"scrapeFrom": {}}},
        "global.networkPolicies",
        {"enabled": False},
    ),
]
