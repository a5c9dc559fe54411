"""Pictures and the page of them, drawn from a real Prometheus with made-up series of the last half hour."""

from __future__ import annotations

import json
import re
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path
from xml.etree import ElementTree

import httpx
import pytest
from playwright.async_api import Browser, expect

from observability.pictures import drawing, files, model, server
from observability.pictures.data import Data, View, load
from observability.pictures.prometheus import Prometheus, QueryFailed
from observability.pictures.variables import Span
from shop.devkit.processes import free_port, launch
from shop.devkit.prometheus import PrometheusStore
from shop.devkit.testing import wait_until
from tests.telemetry.prometheus_tools import program, promtool

MINUTES = 30
STEP_S = 15
LABELS = 'namespace="local",app_kubernetes_io_instance="shop"'
CONFIRMED_PER_S = 2
SVG = "{http://www.w3.org/2000/svg}"
OVERVIEW = files.dashboards()["overview"]
PHONE_PX = 390
STARTED_WITHIN_S, STOPPED_WITHIN_S = 30.0, 10.0
OUTSIDE = """() => [...document.querySelectorAll("g[id^=panel-]")].flatMap(panel => {
    const card = panel.querySelector("rect.card");
    if (!card) return [];
    const edge = card.getBoundingClientRect();
    return [...panel.querySelectorAll("text")].filter(text => {
        const box = text.getBoundingClientRect();
        return box.left < edge.left - 1 || box.right > edge.right + 1 || box.bottom > edge.bottom + 1;
    }).map(text => `${panel.id}: ${text.textContent}`);
})"""


def openmetrics(end_s: int) -> Iterator[str]:
    """Counters that grow evenly: orders, requests of which one in 21 fails, and targets that are up."""
    orders = 'shop_order_orders_total{%s,app_kubernetes_io_name="order",kind="retail",reason="",state="%s"}'
    requests = 'shop_http_requests_total{%s,app_kubernetes_io_name="gateway",route="/",method="GET",status="%s"}'
    rates = {orders % (LABELS, state): CONFIRMED_PER_S for state in ("confirmed", "pending")}
    rates |= {requests % (LABELS, status): per_s for status, per_s in (("200", 20), ("500", 1))}
    times = range(end_s - 60 * MINUTES, end_s, STEP_S)
    for series, per_s in rates.items():
        yield from (f"{series} {per_s * (at - times[0])} {at}" for at in times)
    for service in ("gateway", "order"):
        yield from (f'up{{{LABELS},app_kubernetes_io_name="{service}",pod="{service}-1"}} 1 {at}' for at in times)
    yield "# EOF"


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server with those series."""
    program("prometheus")
    folder = tmp_path_factory.mktemp("prometheus")
    (folder / "series.txt").write_text("\n".join(openmetrics(int(time.time()))) + "\n", encoding="utf-8")
    promtool("tsdb", "create-blocks-from", "openmetrics", str(folder / "series.txt"), str(folder / "server" / "data"))
    running = PrometheusStore(folder / "server", {}, {}).start()
    yield running.url
    running.stop()


@pytest.fixture
async def source(prometheus: str) -> AsyncIterator[Prometheus]:
    client = Prometheus(prometheus)
    yield client
    await client.close()


def view(**variables: str) -> View:
    """Of most of the made-up time: the last scrape is a step old."""
    end_s = time.time() - STEP_S
    return View(Span(end_s - 60 * (MINUTES - 5), end_s), variables)


async def overview(source: Prometheus) -> Data:
    return await load(OVERVIEW, source, view())


def panel(title: str) -> int:
    return next(one.id for one in OVERVIEW.panels if one.title == title)


async def test_panels_show_what_prometheus_has_in_their_unit(source: Prometheus) -> None:
    data = await overview(source)
    assert data.errors == []
    assert {choice.variable.name: choice.chosen for choice in data.choices} == {"namespace": "local", "shop": "shop"}
    drawn = ElementTree.fromstring(drawing.draw(OVERVIEW, data, 1_240))
    texts = {group.get("id"): [one.text for one in group.iter(f"{SVG}text")] for group in drawn.iter(f"{SVG}g")}
    assert "120 ops/m" in texts[f"panel-{panel('Orders confirmed')}"]
    assert "4.76%" in texts[f"panel-{panel('Failed requests')}"]
    assert {"retail confirmed", "retail pending"} <= set(texts[f"panel-{panel('Orders by state')}"])
    assert "No data" in texts[f"panel-{panel('Revenue')}"]


async def test_a_line_goes_through_the_whole_time_at_the_value_of_the_rate(source: Prometheus) -> None:
    shown = (await overview(source)).shown[panel("Orders by state")]
    confirmed = next(one for one in shown.series if one.name == "retail confirmed")
    assert {round(value) for _, value in confirmed.points} == {60 * CONFIRMED_PER_S}
    assert confirmed.points[-1][0] - confirmed.points[0][0] >= 60 * (MINUTES - 7)


async def test_a_variable_takes_the_value_that_was_asked_for_or_its_first(source: Prometheus) -> None:
    service = files.dashboards()["service"]
    for asked, chosen in (("order", "order"), ("no-such", "gateway")):
        data = await load(service, source, view(service=asked))
        assert data.choices[-1].chosen == chosen
        assert data.choices[-1].values == ("gateway", "order")


async def test_a_query_that_prometheus_refuses_is_the_error_of_its_panel(source: Prometheus) -> None:
    with pytest.raises(QueryFailed, match="parse error"):
        await source.at("up{", time.time())
    text = (files.DASHBOARDS / "overview.json").read_text(encoding="utf-8")
    dashboard = model.read(json.loads(text.replace("sum (rate(", "sum (rat(", 1)))
    data = await load(dashboard, source, view())
    assert len(data.errors) == 1
    assert "unknown function" in drawing.draw(dashboard, data, 1_240)


async def test_files_are_written_for_the_dashboards_that_are_named(prometheus: str, tmp_path: Path) -> None:
    drawn = await files.pictures(prometheus, {"overview": view(), "gateway": view()})
    written = files.save(tmp_path / "new", drawn)
    assert written == [tmp_path / "new" / "overview.svg", tmp_path / "new" / "gateway.svg"]
    assert all(ElementTree.fromstring(path.read_text(encoding="utf-8")).get("width") == "1240" for path in written)


def visitor(prometheus_url: str, name: str = "localhost") -> httpx.AsyncClient:
    """Of the page of that Prometheus, which was opened under this `name`."""
    transport = httpx.ASGITransport(server.application(prometheus_url, None))
    return httpx.AsyncClient(transport=transport, base_url=f"http://{name}", follow_redirects=True)


async def test_the_page_has_the_dashboards_the_variables_and_the_picture(prometheus: str) -> None:
    async with visitor(prometheus) as client:
        first = await client.get("/")
        assert first.url.path == "/d/shopkeeper-overview"
        for title in ("Service level objectives", "Runbooks", "Data stores"):
            assert f">{title}</a>" in first.text
        page = (await client.get("/d/shopkeeper-service?var-service=order&from=now-1h")).text
        assert '<option value="order" selected>' in page
        assert '<option value="now-1h" selected>' in page
        assert 'href="/d/shopkeeper-gateway?var-service=order&amp;from=now-1h"' in page
        picture = await client.get("/d/shopkeeper-overview/picture.svg?width=500")
        assert picture.headers["content-type"] == "image/svg+xml"
        assert ElementTree.fromstring(picture.text).get("width") == "500"
        one = (await client.get("/d/shopkeeper-runbooks/picture.svg?viewPanel=panel-5")).text
        assert len(ElementTree.fromstring(one).findall(f"{SVG}g")) == 1


@pytest.mark.parametrize(("zone", "minutes"), [("UTC", "0"), ("Nowhere/No-Such", "0"), ("Asia/Kathmandu", "5")])
async def test_times_are_written_in_the_zone_of_the_browser(prometheus: str, zone: str, minutes: str) -> None:
    """That of Kathmandu is 5 hours and 45 minutes before UTC's."""
    async with visitor(prometheus) as client:
        drawn = (await client.get(f"/d/shopkeeper-overview/picture.svg?from=now-1h&zone={zone}")).text
    times = re.findall(r">\d\d:\d(\d)<", drawn)
    assert times
    assert set(times) == {minutes}


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/d/no-such", "there is no dashboard no-such"),
        ("/d/shopkeeper-overview?from=yesterday", "write from=now-1h"),
        ("/d/shopkeeper-overview?from=now-99d", "at most now-15d"),
        ("/d/shopkeeper-overview?viewPanel=panel-999", "has no panel-999"),
        ("/d/shopkeeper-overview/picture.svg?width=wide", "is not a number"),
        ("/d/<script>", "there is no dashboard &lt;script&gt;"),
    ],
)
async def test_the_page_refuses_what_there_is_not(prometheus: str, path: str, reason: str) -> None:
    async with visitor(prometheus) as client:
        answer = await client.get(path)
    assert answer.status_code == 404
    assert reason in answer.text


async def test_a_page_that_was_opened_under_another_name_is_refused(prometheus: str) -> None:
    async with visitor(prometheus, "rebound.example") as client:
        assert (await client.get("/d/shopkeeper-overview")).status_code == 400


async def test_without_prometheus_the_page_says_so() -> None:
    async with visitor(f"http://127.0.0.1:{free_port()}") as client:
        answer = await client.get("/d/shopkeeper-overview")
    assert answer.status_code == 503
    assert "does not answer" in answer.text


@pytest.fixture(scope="module")
async def page_url(prometheus: str) -> AsyncIterator[str]:
    """The address of the page's own program."""
    port = free_port()
    options = ["--prometheus", prometheus, "--port", str(port)]
    process = launch([sys.executable, "-m", "observability.pictures.server", *options], cwd=files.DASHBOARDS.parents[2])
    url = f"http://127.0.0.1:{port}"
    async with httpx.AsyncClient() as client:
        await wait_until(partial(answers, client, f"{url}/health"), STARTED_WITHIN_S, "the page")
    yield url
    process.terminate()
    assert process.wait(STOPPED_WITHIN_S) in (0, -signal.SIGTERM)


async def answers(client: httpx.AsyncClient, url: str) -> bool:
    try:
        return (await client.get(url)).status_code == 200
    except httpx.TransportError:
        return False


@pytest.mark.browser
async def test_the_page_shows_the_picture_at_its_width_and_says_when_it_is_not_current(
    page_url: str, chromium: Browser
) -> None:
    tab = await chromium.new_page(viewport={"width": PHONE_PX, "height": 800})
    complaints: list[str] = []
    tab.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    await tab.goto(f"{page_url}/d/shopkeeper-service?from=now-1h")
    await expect(tab.locator("#picture svg")).to_have_attribute("width", str(PHONE_PX))
    await expect(tab.locator("#state")).to_contain_text("as of")
    await expect(tab.locator("#picture")).to_contain_text("Requests of gateway")
    await tab.select_option("select[name=var-service]", "order")
    await expect(tab.locator("#picture")).to_contain_text("Requests of order")
    assert "from=now-1h" in tab.url
    assert await tab.evaluate("document.documentElement.scrollWidth") == PHONE_PX
    assert complaints == []
    await tab.route("**/picture.svg*", lambda route: route.abort())
    await tab.evaluate("show()")
    await expect(tab.locator("#state")).to_contain_text("not current")
    await tab.close()


@pytest.mark.browser
@pytest.mark.parametrize("width", [1_240, PHONE_PX])
async def test_no_text_reaches_out_of_its_panel(source: Prometheus, chromium: Browser, width: int) -> None:
    """What the renderer reckons with is the widest font; the browser measures its own."""
    tab = await chromium.new_page(viewport={"width": width, "height": 900})
    for name in ("overview", "runbooks"):
        dashboard = files.dashboards()[name]
        drawn = drawing.draw(dashboard, await load(dashboard, source, view()), width)
        await tab.set_content(f"<body style='margin:0'>{drawn}</body>")
        assert await tab.evaluate(OUTSIDE) == []
    await tab.close()
