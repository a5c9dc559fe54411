"""The kinds of object that a Shop consists of: where the API serves them, and in which wave they are applied.

The rights of the operator, its informers and the order of applying all follow from this one table.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from shop.operator.kube.objects import NOUN_LABEL, Object, Ref
from shop.operator.services import EDGE

STORE_NOUNS = frozenset({"postgres", "nats", "valkey"})


class Wave(IntEnum):
    """Applied in this order, each when everything in the one before is healthy; deleted in reverse."""

    CONFIG = 0
    STORES = 1
    PROVISION = 2
    RESTORE = 3
    MIGRATE = 4
    SERVICES = 5
    EDGE = 6
    ROUTES = 7


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind. The CRDs of `optional` ones need not be installed; without a `wave` an object's noun decides."""

    api_version: str
    kind: str
    plural: str
    wave: Wave | None = None
    optional: bool = False

    @property
    def group(self) -> str:
        """ "" for the core group."""
        return self.api_version.rpartition("/")[0]

    @property
    def root(self) -> str:
        """Path of the group and version at the API server."""
        return f"/apis/{self.api_version}" if self.group else f"/api/{self.api_version}"


SECRET = Kind("v1", "Secret", "secrets", Wave.CONFIG)
CONFIG_MAP = Kind("v1", "ConfigMap", "configmaps")
SERVICE = Kind("v1", "Service", "services", Wave.CONFIG)
DEPLOYMENT = Kind("apps/v1", "Deployment", "deployments")
JOB = Kind("batch/v1", "Job", "jobs")
CRON_JOB = Kind("batch/v1", "CronJob", "cronjobs", Wave.ROUTES)
POD = Kind("v1", "Pod", "pods")
CLAIM = Kind("v1", "PersistentVolumeClaim", "persistentvolumeclaims")
SHOP = Kind("shops.shopkeeper.dev/v1alpha1", "Shop", "shops")
LEASE = Kind("coordination.k8s.io/v1", "Lease", "leases")
EVENT = Kind("v1", "Event", "events")

RENDERED = (
    SECRET,
    CONFIG_MAP,
    Kind("v1", "ServiceAccount", "serviceaccounts", Wave.CONFIG),
    SERVICE,
    Kind("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies", Wave.CONFIG),
    Kind("apps/v1", "StatefulSet", "statefulsets", Wave.STORES),
    Kind("postgresql.cnpg.io/v1", "Cluster", "clusters", Wave.STORES, optional=True),
    JOB,
    DEPLOYMENT,
    Kind("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets"),
    Kind("autoscaling/v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers"),
    Kind("networking.k8s.io/v1", "Ingress", "ingresses", Wave.ROUTES),
    Kind("gateway.networking.k8s.io/v1", "HTTPRoute", "httproutes", Wave.ROUTES, optional=True),
    Kind("monitoring.coreos.com/v1", "ServiceMonitor", "servicemonitors", Wave.ROUTES, optional=True),
    Kind("monitoring.coreos.com/v1", "PrometheusRule", "prometheusrules", Wave.ROUTES, optional=True),
    CRON_JOB,
)
"""What charts/shop can render, in the order of applying within a wave."""
_BY_NAME = {(kind.api_version, kind.kind): kind for kind in (*RENDERED, POD, CLAIM, SHOP, LEASE, EVENT)}

_OF_NOUN = {"provision": Wave.PROVISION, "restore": Wave.RESTORE, "migrate": Wave.MIGRATE}
"""By the label app.kubernetes.io/name of a Job; any other Job, such as the catalogue's, is in the last wave."""


def kind_of(obj: Object | Ref) -> Kind:
    """The kind from the table; KeyError for one that no Shop consists of."""
    pair = (obj.api_version, obj.kind) if isinstance(obj, Ref) else (obj["apiVersion"], obj["kind"])
    return _BY_NAME[pair]


def wave_of(obj: Object) -> Wave:
    """When `obj` is applied. Settings go with the Deployments that read them, so a failed migration changes nothing."""
    kind, noun = kind_of(obj), obj["metadata"].get("labels", {}).get(NOUN_LABEL, "")
    if kind.wave is not None:
        return kind.wave
    if kind is JOB:
        return _OF_NOUN.get(noun, Wave.ROUTES)
    if kind is CONFIG_MAP and (noun in STORE_NOUNS or noun in _OF_NOUN):
        return Wave.CONFIG
    return Wave.EDGE if noun in EDGE else Wave.SERVICES


def order_of(obj: Object) -> tuple[Wave, int, str]:
    """Sorts objects into the order of applying."""
    return wave_of(obj), RENDERED.index(kind_of(obj)), obj["metadata"]["name"]
