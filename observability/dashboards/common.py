"""What all dashboards share: panels as data, queries over one shop's series, and their form in Grafana.

Two words are replaced where a dashboard is installed: UID_OF before a dashboard's name (uids must be unique in a
Grafana, and a uid that stands twice is refused), TAG, by which the dashboards of one shop link to each other.
"""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, text, timeseries
from grafana_foundation_sdk.cog.builder import Builder as Build
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import common as looks
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.text import TextMode

from observability.dashboards import pages

UID_OF, TAG = "SHOP-UID-", "SHOP-TAG"
OVERVIEW, SERVICE, RUNBOOKS = "overview", "service", "runbooks"
SCRAPE_INTERVAL = "30s"
"""The longest of the ServiceMonitors. As a query's least step it makes $__rate_interval at least four of them."""
REFRESH, RANGE = "30s", "now-3h"
SCHEMA_VERSION = 39
GREEN, ORANGE, RED, BLUE = "green", "orange", "red", "blue"
SOURCE = models.DataSourceRef(type_val="prometheus", uid="${datasource}")
SHOP = 'namespace="$namespace", app_kubernetes_io_instance="$shop"'
EACH_SERVICE = "app_kubernetes_io_name"
NAMED = "{{app_kubernetes_io_name}}"
"""In a legend: the name of the series' service."""
WINDOW = "$__rate_interval"
MAX_TEXT_HEIGHT = 10


@dataclass(frozen=True)
class Query:
    """`legend` is Grafana's template of a series' name, such as {{state}}."""

    expr: str
    legend: str


@dataclass(frozen=True)
class Panel:
    """One panel. `alert`: it shows what this alert watches, and links to the runbook. `orange` and `red` are
    thresholds in `unit`; values below are worse where `falling`."""

    title: str
    description: str
    unit: str
    queries: Sequence[Query]
    kind: str = "timeseries"
    width: int = 8
    alert: str = ""
    orange: float | None = None
    red: float | None = None
    falling: bool = False
    stacked: bool = False
    minimum: float | None = 0
    by_service: bool = False
    """Its series are named by services: each links to the service's dashboard."""
    traces: str = ""
    """TraceQL for the traces behind the panel."""
    exemplars: bool = False
    tall: bool = False
    """A number as high as the charts beside it."""

    @property
    def height(self) -> int:
        return 4 if self.kind == "stat" and not self.tall else 8


@dataclass(frozen=True)
class Row:
    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True)
class Board:
    """A dashboard; `name` is its file and the end of its uid."""

    name: str
    title: str
    description: str
    rows: Sequence[Row]
    variables: Sequence[str] = ("namespace", "shop")
    texts: Sequence[tuple[str, str]] = field(default=())
    """Titles and Markdown of text panels after the rows."""

    def panels(self) -> list[Panel]:
        return [panel for row in self.rows for panel in row.panels]


VARIABLES = {
    "namespace": ("Namespace", 'label_values(up{app_kubernetes_io_instance!=""}, namespace)'),
    "shop": ("Shop", 'label_values(up{namespace="$namespace"}, app_kubernetes_io_instance)'),
    "service": ("Service", f"label_values(up{{{SHOP}}}, app_kubernetes_io_name)"),
    "operator": ("Namespace of the operator", "label_values(shop_operator_leader, namespace)"),
}


def of(metric: str, labels: str = "") -> str:
    """The series of `metric` of this dashboard's shop."""
    return f"{metric}{{{SHOP}{', ' if labels else ''}{labels}}}"


def rate(metric: str, labels: str = "", by: str = "") -> str:
    """Events a second, summed; `by` names the labels that stay."""
    return f"sum{f' by ({by})' if by else ''} (rate({of(metric, labels)}[{WINDOW}]))"


def per_minute(per_second: str) -> str:
    return f"{per_second} * 60"


def share(part: str, whole: str) -> str:
    """`part` of `whole`, from 0 to 1; 0, not nothing and not NaN, while there is none of either."""
    return f"(({part}) or 0 * {whole}) / ({whole} > 0) or 0 * {whole}"


def quantile(q: float, histogram: str, labels: str = "", by: str = "") -> str:
    """A quantile of a histogram, nothing while it has no events: Prometheus has NaN then, which no chart shows well."""
    buckets = rate(f"{histogram}_bucket", labels, f"le, {by}" if by else "le")
    return f"histogram_quantile({q:g}, {buckets}) > -Inf"


def quantiles(histogram: str, labels: str = "") -> list[Query]:
    return [Query(quantile(q, histogram, labels), f"p{q * 100:g}") for q in (0.5, 0.95, 0.99)]


def mean(histogram: str, labels: str = "", by: str = "") -> str:
    return f"{rate(f'{histogram}_sum', labels, by)} / ({rate(f'{histogram}_count', labels, by)} > 0)"


def model(board: Board) -> dict[str, Any]:
    """The dashboard as Grafana reads it."""
    made = (
        dashboard.Dashboard(board.title)
        .uid(f"{UID_OF}{board.name}")
        .description(board.description)
        .tags(["shop", TAG])
        .refresh(REFRESH)
        .time(RANGE, "now")
        .timezone("browser")
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .readonly()
        .variables([_source_variable(), _traces_variable(), *map(_variable, board.variables)])
        .link(_links())
    )
    number = 0
    for row in board.rows:
        made.with_row(dashboard.Row(row.title).id(number := number + 1))
        for panel in row.panels:
            made.with_panel(_panel(panel, number := number + 1))
    for title, content in board.texts:
        made.with_panel(_text(title, content, number := number + 1))
    document: dict[str, Any] = json.loads(json.dumps(made.build(), cls=JSONEncoder))
    return document


def _links() -> dashboard.DashboardLink:
    return (
        dashboard.DashboardLink("Dashboards of this shop")
        .type(models.DashboardLinkType.DASHBOARDS)
        .tags([TAG])
        .as_dropdown(True)
        .include_vars(True)
        .keep_time(True)
    )


def _source_variable() -> dashboard.DatasourceVariable:
    """A variable, because ${DS_PROMETHEUS} of an exported dashboard is not resolved when it is provisioned."""
    return dashboard.DatasourceVariable("datasource").label("Prometheus data source").type("prometheus")


def _traces_variable() -> dashboard.DatasourceVariable:
    hidden = models.VariableHide.HIDE_VARIABLE
    return dashboard.DatasourceVariable("traces").label("Tempo data source").type("tempo").hide(hidden)


def _variable(name: str) -> dashboard.QueryVariable:
    label, query = VARIABLES[name]
    return (
        dashboard.QueryVariable(name)
        .label(label)
        .datasource(SOURCE)
        .query({"query": query, "refId": name})
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.ALPHABETICAL_ASC)
    )


type Builder = timeseries.Panel | stat.Panel


def _panel(panel: Panel, number: int) -> Builder:
    made: Builder = _stat() if panel.kind == "stat" else _timeseries(panel)
    made.id(number).title(panel.title).description(_described(panel)).datasource(SOURCE).unit(panel.unit)
    made.thresholds(_thresholds(panel)).span(panel.width).height(panel.height).links(_panel_links(panel))
    made.targets([_target(panel, query, letter) for query, letter in zip(panel.queries, "ABCDEFGH", strict=False)])
    if panel.minimum is not None:
        made.min(panel.minimum)
    if panel.by_service:
        made.data_links([_link("Service", _service_url())])
    return made


def _described(panel: Panel) -> str:
    return f"{panel.description}\n\nAlert: {panel.alert}" if panel.alert else panel.description


def _timeseries(panel: Panel) -> timeseries.Panel:
    made = timeseries.Panel().fill_opacity(_fill_percent(panel)).line_width(1).show_points(looks.VisibilityMode.NEVER)
    made.legend(
        common.VizLegendOptions()
        .show_legend(True)
        .display_mode(looks.LegendDisplayMode.LIST)
        .placement(looks.LegendPlacement.BOTTOM)
    )
    made.tooltip(common.VizTooltipOptions().mode(looks.TooltipDisplayMode.MULTI).sort(looks.SortOrder.DESCENDING))
    if panel.stacked:
        made.stacking(common.StackingConfig().mode(looks.StackingMode.NORMAL))
    if panel.red is not None:
        made.thresholds_style(common.GraphThresholdsStyleConfig().mode(looks.GraphThresholdsStyleMode.DASHED))
    return made


def _fill_percent(panel: Panel) -> int:
    """Areas of several lines that lie on each other have no colour that one could tell."""
    single = len(panel.queries) == 1 and "{{" not in panel.queries[0].legend
    return 30 if panel.stacked else 10 if single else 0


def _stat() -> stat.Panel:
    """An instant query has one point, so there is no line below the number."""
    made = stat.Panel().graph_mode(looks.BigValueGraphMode.NONE).color_mode(looks.BigValueColorMode.VALUE)
    return made.reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))


def _thresholds(panel: Panel) -> dashboard.ThresholdsConfig:
    """Grafana colours a value by the highest step that it reaches, and the first step has no value."""
    steps = [(panel.orange, ORANGE), (panel.red, RED)]
    known = [(value, color) for value, color in steps if value is not None]
    if panel.falling:
        bounds, colors = (
            [None, *(value for value, _ in reversed(known))],
            [*(color for _, color in reversed(known)), GREEN],
        )
        found = list(zip(bounds, colors, strict=True))
    else:
        found = [(None, GREEN if known else BLUE), *known]
    return (
        dashboard.ThresholdsConfig()
        .mode(models.ThresholdsMode.ABSOLUTE)
        .steps([models.Threshold(value, color) for value, color in found])
    )


def _target(panel: Panel, query: Query, letter: str) -> prometheus.Dataquery:
    made = prometheus.Dataquery().ref_id(letter).datasource(SOURCE).expr(query.expr).legend_format(query.legend)
    made.interval(SCRAPE_INTERVAL)
    if panel.kind != "timeseries":
        return made.instant()
    return made.range().exemplar(panel.exemplars)


def _panel_links(panel: Panel) -> list[Build[models.DashboardLink]]:
    found: list[Build[models.DashboardLink]] = []
    if panel.alert:
        found.append(
            _link(f"Runbook of {panel.alert}", f"/d/{UID_OF}{RUNBOOKS}?viewPanel=panel-{pages.number(panel.alert)}")
        )
    if panel.traces:
        found.append(_link("Traces", traces_url(panel.traces)))
    return found


def _link(title: str, url: str) -> dashboard.DashboardLink:
    return dashboard.DashboardLink(title).type(models.DashboardLinkType.LINK).url(url)


def _service_url() -> str:
    variables = "var-datasource=${datasource}&var-namespace=${namespace}&var-shop=${shop}"
    return f"/d/{UID_OF}{SERVICE}?var-service=${{__field.labels.{EACH_SERVICE}}}&{variables}&${{__url_time_range}}"


def traces_url(traceql: str) -> str:
    """Grafana's page of a search for traces. It fills variables in as they stand, so they are not quoted."""
    pane = {
        "datasource": "${traces}",
        "queries": [
            {
                "refId": "A",
                "datasource": {"type": "tempo", "uid": "${traces}"},
                "queryType": "traceql",
                "query": traceql,
            }
        ],
        "range": {"from": "${__from}", "to": "${__to}"},
    }
    quoted = urllib.parse.quote(json.dumps({"shop": pane}, separators=(",", ":")), safe="")
    for name in ("traces", "__from", "__to", "service"):
        quoted = quoted.replace(urllib.parse.quote(f"${{{name}}}", safe=""), f"${{{name}}}")
    return f"/explore?schemaVersion=1&panes={quoted}"


def _text(title: str, content: str, number: int) -> text.Panel:
    """One scrolls in a text that is higher than its panel."""
    height = min(MAX_TEXT_HEIGHT, 2 + len(content.splitlines()) // 2)
    return text.Panel().id(number).title(title).mode(TextMode.MARKDOWN).content(content).span(24).height(height)
