"""What watches a Shop, and how: scrapes, alert rules, dashboards and traces."""

from typing import Annotated

from pydantic import Field

from shop.operator.resource.fields import Annotation, AnnotationName, Flag, LabelName, LabelValue, Url, whole
from shop.operator.resource.spec_service import Part

MAX_LABELS = 16
MAX_SCRAPE_INTERVAL_S = 30
"""The windows of dashboards and alerts hold four scrapes or more up to this interval."""

Labels = Annotated[dict[LabelName, LabelValue], Field(max_length=MAX_LABELS)]
Annotations = Annotated[dict[AnnotationName, Annotation], Field(max_length=MAX_LABELS)]


class Tracing(Part):
    """Where traces are sent (OTLP over HTTP), and the share of requests that is traced."""

    endpoint: Url | None = None
    """Such as http://otel-collector:4318; left out, nothing is recorded."""
    sample_ratio: Annotated[float, Field(ge=0, le=1, strict=True)] = 0.01
    """Share of the requests, 0 to 1."""


class ScrapeFrom(Part):
    """The pods that may read the metrics where network policies are on."""

    namespace_labels: Labels = {}  # noqa: RUF012 - pydantic copies it
    """Labels of their namespace, such as kubernetes.io/metadata.name: monitoring; left out, any namespace."""
    pod_labels: Labels = {"app.kubernetes.io/name": "prometheus"}  # noqa: RUF012 - pydantic copies it
    """Labels of the pods; the default is those of Prometheus as its operator and charts/observability run it."""


class Observability(Part):
    """ServiceMonitors, alert rules, dashboards and traces."""

    service_monitors: Flag = False
    """A ServiceMonitor per service; the kind must be installed. Cluster only."""
    rules: Flag = False
    """A PrometheusRule with the shop's alerts; the kind must be installed. Cluster only."""
    labels: Labels = {}  # noqa: RUF012 - pydantic copies it
    """Labels of the ServiceMonitors and the PrometheusRule, such as release: kube-prometheus-stack. Cluster only."""
    scrape_interval_seconds: Annotated[int, whole(5, MAX_SCRAPE_INTERVAL_S)] | None = None
    """Of the ServiceMonitors; left out, 15. Cluster only."""
    scrape_from: ScrapeFrom | None = None
    """Left out, with serviceMonitors every Prometheus of the Prometheus operator, otherwise none. Cluster only."""
    dashboards: Flag = False
    """ConfigMaps with Grafana dashboards, labelled for Grafana's sidecar. Cluster only."""
    dashboard_labels: Labels = {}  # noqa: RUF012 - pydantic copies it
    """Labels by which the sidecar finds the ConfigMaps, besides grafana_dashboard: "1". Cluster only."""
    dashboard_annotations: Annotations = {}  # noqa: RUF012 - pydantic copies it
    """Annotations of the ConfigMaps, such as grafana_folder: Shops. Cluster only."""
    tracing: Tracing = Tracing()
    """Where traces are sent."""
