"""Pictures of dashboards: units, axes, places and texts, without a Prometheus."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from observability.pictures import drawing, durations, files, layout, legend, model, scales, stats, svg, texts, units
from observability.pictures import variables as grafana
from observability.pictures.data import Data, Series, Shown
from observability.pictures.variables import Span

NOON_S = datetime(2026, 11, 29, 12, tzinfo=UTC).timestamp()
SPAN = Span(NOON_S, NOON_S + 300)
SVG = "{http://www.w3.org/2000/svg}"
WIDE_PX, PHONE_PX = 1_240.0, 390.0
DASHBOARDS = files.dashboards()
PICTURES = Path(__file__).parents[2] / "docs" / "dashboards"


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0, "s", "0 s"),
        (0.0123, "s", "12.3 ms"),
        (0.00045, "s", "450 µs"),
        (1.5, "s", "1.50 s"),
        (90, "s", "1.50 mins"),
        (7_200, "s", "2 hours"),
        (172_800, "s", "2 days"),
        (1_500, "ms", "1.50 s"),
        (1_234, "short", "1.23 K"),
        (7, "short", "7"),
        (0.25, "short", "0.250"),
        (-0.5, "short", "−0.500"),
        (12_345_678, "bytes", "11.8 MiB"),
        (0.0144, "percentunit", "1.44%"),
        (120, "opm", "120 ops/m"),
        (1_500, "reqps", "1.50K req/s"),
        (12.99, "currencyEUR", "€13.0"),
        (float("nan"), "s", "NaN"),
        (float("inf"), "short", "∞"),
    ],
)
def test_a_value_is_written_as_grafana_writes_it(value: float, unit: str, text: str) -> None:
    assert units.written(value, unit) == text


def test_decimals_of_a_panel_are_kept() -> None:
    assert units.written(0.5, "percentunit", 1) == "50.0%"
    assert units.written(-0.001, "short", 0) == "0"


@pytest.mark.parametrize(
    ("found", "unit", "labels"),
    [
        ([0, 0.018], "s", "0 ms|5 ms|10 ms|15 ms|20 ms"),
        ([0, 130], "s", "0 s|1 min|2 mins|3 mins"),
        ([0, 120e6], "bytes", "0 MiB|32 MiB|64 MiB|96 MiB|128 MiB"),
        ([0, 0.0037], "percentunit", "0.0%|0.1%|0.2%|0.3%|0.4%"),
        ([0, 17_000], "short", "0 K|5 K|10 K|15 K|20 K"),
        ([3, 3], "short", "0|1|2|3"),
        ([0, 0], "short", "0.0|0.2|0.4|0.6|0.8|1.0"),
        ([], "reqps", "0.0 req/s|0.2 req/s|0.4 req/s|0.6 req/s|0.8 req/s|1.0 req/s"),
    ],
)
def test_an_axis_has_round_labels_in_one_unit_that_enclose_the_values(
    found: list[float], unit: str, labels: str
) -> None:
    axis = scales.values(found, unit, 5, low=0)
    assert scales.labels(axis, unit) == labels.split("|")
    assert all(axis.low <= value <= axis.high for value in found)


def test_an_axis_with_negative_values_has_zero_among_its_labels() -> None:
    axis = scales.values([-0.7, 0.9], "short", 4)
    assert (axis.low, axis.high) == (-1.0, 1.0)
    assert scales.labels(axis, "short") == ["−1.0", "−0.5", "0.0", "0.5", "1.0"]
    assert axis.share(-1) == 0
    assert axis.share(0) == 0.5
    assert axis.share(7) == 1


@pytest.mark.parametrize(
    ("range_s", "labels"),
    [
        (20, ["12:00:00", "12:00:05", "12:00:10", "12:00:15", "12:00:20"]),
        (240, ["12:00", "12:01", "12:02", "12:03", "12:04"]),
        (10_800, ["12:00", "13:00", "14:00", "15:00"]),
        (345_600, ["11/30", "12/01", "12/02", "12/03"]),
    ],
)
def test_times_are_labelled_at_full_minutes_and_hours(range_s: float, labels: list[str]) -> None:
    assert scales.time_labels(scales.times(NOON_S, NOON_S + range_s, 4), UTC) == labels
    shifted = scales.time_labels(scales.times(NOON_S, NOON_S + 240, 1), timezone(timedelta(hours=2)))
    assert shifted == ["14:00"]


def test_durations_are_those_of_prometheus() -> None:
    assert durations.seconds("1h30m") == 5_400
    assert durations.seconds("500ms") == 0.5
    assert [durations.written(value) for value in (0.5, 90, 86_400, 0)] == ["500ms", "1m30s", "1d", "0s"]
    for text in ("", "5", "m5", "1 h"):
        with pytest.raises(ValueError, match="not a duration"):
            durations.seconds(text)


def test_a_rate_of_a_picture_holds_four_scrapes_as_in_grafana() -> None:
    window = Span(NOON_S, NOON_S + 10_800).window(120, 30)
    assert window.step_s == 120
    assert grafana.built_in(window, 30)["__rate_interval"] == "2m30s"
    near = SPAN.window(120, 30)
    assert near.step_s == 30
    assert grafana.built_in(near, 30)["__rate_interval"] == "2m"
    assert grafana.built_in(SPAN.window(300, 1), 1)["__rate_interval"] == "4s"


def test_variables_are_filled_in_and_an_unknown_one_is_refused() -> None:
    values = {"shop": "books", "__field.labels.pod": "order-1"}
    assert grafana.filled('a{shop="$shop"}[${shop}] ${__field.labels.pod}', values) == 'a{shop="books"}[books] order-1'
    with pytest.raises(grafana.UnknownVariable, match=r"\$service has no value"):
        grafana.filled("$service", values)


def test_a_series_is_named_by_the_template_or_by_its_labels() -> None:
    labels = {"__name__": "up", "pod": "order-1", "kind": ""}
    assert grafana.legend("{{kind}} {{pod}}", labels) == "order-1"
    assert grafana.legend("{{missing}}", labels) == 'up{kind="", pod="order-1"}'
    assert grafana.label_values('label_values(up{a="b, c"}, pod)') == ("pod", 'up{a="b, c"}')
    assert grafana.label_values("label_values(pod)") == ("pod", "")
    with pytest.raises(ValueError, match="not a query for the values"):
        grafana.label_values("query_result(up)")


def document(**changes: Any) -> dict[str, Any]:
    """A dashboard with one panel, which `changes` change."""
    panel: dict[str, Any] = {"id": 1, "type": "timeseries", "title": "One", "gridPos": {"x": 0, "y": 0, "w": 8, "h": 8}}
    return {"uid": "u", "title": "T", "time": {"from": "now-3h", "to": "now"}, "panels": [{**panel, **changes}]}


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"type": "piechart"}, "no picture of a piechart"),
        ({"fieldConfig": {"defaults": {"unit": "furlongs"}}}, "'furlongs' cannot be written"),
        ({"fieldConfig": {"overrides": [{"matcher": {}}]}}, "overrides"),
        ({"fieldConfig": {"defaults": {"thresholds": {"steps": [{"color": "mauve"}]}}}}, "no colour is called 'mauve'"),
        ({"type": "text", "options": {"mode": "html"}}, "must be Markdown"),
    ],
)
def test_what_a_picture_cannot_show_is_refused(changes: dict[str, Any], reason: str) -> None:
    with pytest.raises(model.CannotDraw, match=reason):
        model.read(document(**changes))


def test_every_dashboard_of_the_repository_can_be_drawn_and_the_overview_is_first() -> None:
    names = {path.stem for path in files.DASHBOARDS.glob("*.json")}
    assert set(DASHBOARDS) == names
    assert next(iter(DASHBOARDS)) == "overview"
    for dashboard in DASHBOARDS.values():
        drawn = drawing.draw(dashboard, made_up(dashboard), WIDE_PX)
        found = ElementTree.fromstring(drawn)
        assert len(found.findall(f"{SVG}g")) == len(dashboard.panels)


def made_up(dashboard: model.Dashboard, count: int = 3) -> Data:
    """Data with so many series for each panel."""
    points = [(NOON_S + 10 * n, float(n % 7)) for n in range(30)]
    series = tuple(Series(f"series number {number}", points) for number in range(count))
    return Data(SPAN, (), {panel.id: Shown(series) for panel in dashboard.panels if panel.targets})


def overlap(one: svg.Box, other: svg.Box) -> bool:
    return one.x < other.right and other.x < one.right and one.y < other.bottom and other.y < one.bottom


@pytest.mark.parametrize("width", [WIDE_PX, 800.0, PHONE_PX, 320.0])
@pytest.mark.parametrize("name", DASHBOARDS)
def test_panels_are_inside_the_picture_and_do_not_overlap(name: str, width: float) -> None:
    boxes = list(
        layout.place(DASHBOARDS[name].panels, width, lambda panel, _: 500 if panel.kind == "text" else 0).values()
    )
    assert all(box.x >= 0 and box.right <= width and box.y >= 0 for box in boxes)
    for number, box in enumerate(boxes):
        assert not any(overlap(box, other) for other in boxes[number + 1 :])


def test_panels_are_beside_each_other_where_there_is_room_and_else_below() -> None:
    panels = DASHBOARDS["overview"].panels
    row, first, *_ = panels
    wide, phone = (layout.place(panels, width, lambda *_: 0) for width in (WIDE_PX, PHONE_PX))
    assert len({wide[panel.id].y for panel in panels if panel.y == first.y}) == 1
    assert len({phone[panel.id].y for panel in panels if panel.y == first.y}) == 3
    assert wide[row.id].y < wide[first.id].y
    assert phone[row.id].y < phone[first.id].y


def test_lines_are_interrupted_where_points_are_missing_and_stacked_on_each_other() -> None:
    panel = model.read(
        document(fieldConfig={"defaults": {"custom": {"fillOpacity": 30, "stacking": {"mode": "normal"}}}})
    )
    times = [NOON_S + 10 * n for n in (0, 1, 2, 6, 7)]
    series = (Series("a", [(at, 1.0) for at in times]), Series("b", [(at, 2.0) for at in times]))
    drawn = ElementTree.fromstring(drawing.draw(panel, Data(SPAN, (), {1: Shown(series)}), WIDE_PX))
    groups = [group for group in drawn.iter(f"{SVG}g") if group.findtext(f"{SVG}title") in ("a", "b")]
    lines = [
        [one.get("d", "") for one in group.findall(f"{SVG}path") if "line" in one.get("class", "")] for group in groups
    ]
    assert [len(parts) for parts in lines] == [2, 2]
    heights = [float(re.match(r"M\S+ (\S+?)l", parts[0])[1]) for parts in lines]  # type: ignore[index]
    labels = {
        one.text: float(one.get("y", "0")) - 4 for one in drawn.iter(f"{SVG}text") if (one.text or "")[:1].isdigit()
    }
    assert heights == pytest.approx([labels["1.0"], labels["3.0"]], abs=0.2)


def test_a_panel_says_why_it_is_empty() -> None:
    dashboard = model.read(document(targets=[{"expr": "up"}]))
    for shown, text in (
        (Shown(), "No data"),
        (Shown((Series("a", [(NOON_S, float("nan"))]),)), "No data"),
        (Shown(error="parse error, in: up{"), "parse error, in: up{"),
    ):
        assert f">{text}<" in drawing.draw(dashboard, Data(SPAN, (), {1: shown}), WIDE_PX)


def test_a_name_is_text_and_never_markup() -> None:
    hostile = '<script>alert("x")</script>\x00&'
    dashboard = model.read(document(targets=[{"expr": "up"}]))
    drawn = drawing.draw(dashboard, Data(SPAN, (), {1: Shown((Series(hostile, [(NOON_S, 1.0)]),))}), WIDE_PX)
    assert "<script" not in drawn
    assert hostile.replace("\x00", "\ufffd") in {one.text for one in ElementTree.fromstring(drawn).iter()}


def test_a_legend_says_how_many_names_it_leaves_out() -> None:
    series = [Series(f"service number {n}", [(NOON_S, 1.0)]) for n in range(40)]
    names = legend.arranged(series, 380, 260)
    assert names[-1].more
    assert names[-1].content == f"and {40 - len(names) + 1} more"
    assert all(name.right <= 380 for name in names)
    assert not any(name.more for name in legend.arranged(series[:3], 380, 260))


def test_a_number_has_the_colour_of_the_highest_threshold_that_it_reaches() -> None:
    steps = [{"color": "red", "value": None}, {"color": "orange", "value": 0.5}, {"color": "green", "value": 0.9}]
    panel = model.read(document(type="stat", fieldConfig={"defaults": {"thresholds": {"steps": steps}}})).panels[0]
    assert [stats.color_of(panel, value) for value in (-1, 0.5, 0.89, 0.9)] == ["red", "orange", "orange", "green"]


def test_markdown_is_broken_into_lines_of_the_panels_width() -> None:
    blocks = texts.arranged(
        "# A\n\nOne **two** `three` [four](http://five)\n\n1. six\n2. seven\n\n```\ncode\n```\n" + "word " * 99, 300
    )
    heading, paragraph, *items, code, long = blocks
    assert heading.size > paragraph.size
    assert {word.content: word.classes for word in paragraph.lines[0]}["two"] == "bold"
    assert {word.content: word.url for word in paragraph.lines[0]}["four"] == "http://five"
    assert [item.mark for item in items] == ["1.", "2."]
    assert code.code
    assert len(long.lines) > 5
    assert all(sum(word.width(long.size) for word in line) <= 300 + long.size for line in long.lines)


def test_a_text_is_shortened_where_it_has_no_room() -> None:
    assert svg.shortened("short", 12, 200) == "short"
    cut = svg.shortened("a long name that does not fit", 12, 100)
    assert cut.endswith("…")
    assert svg.text_width(cut, 12) <= 100


@pytest.mark.parametrize("name", [name for name in DASHBOARDS if name != "operator"])
def test_the_documents_show_a_picture_of_each_dashboard_of_a_shop(name: str) -> None:
    """`make dashboards` draws them; the operator runs in a cluster only."""
    assert f"![{DASHBOARDS[name].title}]({name}.svg)" in (PICTURES / "README.md").read_text(encoding="utf-8")
    assert ElementTree.parse(PICTURES / f"{name}.svg").getroot().get("aria-label") == DASHBOARDS[name].title
