"""The dashboards of this repository, and pictures of them as files: `python -m observability.pictures.files --help`."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from observability.pictures import drawing
from observability.pictures.data import View, load
from observability.pictures.model import Dashboard, read
from observability.pictures.prometheus import Prometheus
from observability.pictures.variables import Span

DASHBOARDS = Path(__file__).parents[1] / "generated" / "dashboards"
FIRST, LAST = "overview", "runbooks"
WIDTH_PX = 1_240.0


class Incomplete(Exception):
    """A query failed; the text names the dashboard and the error."""


def dashboards() -> dict[str, Dashboard]:
    """All of `observability/generated`, by the names of their files: the overview first, the runbooks last."""
    names = sorted(
        (path.stem for path in DASHBOARDS.glob("*.json")), key=lambda name: (name == LAST, name != FIRST, name)
    )
    return {name: read(json.loads((DASHBOARDS / f"{name}.json").read_text(encoding="utf-8"))) for name in names}


async def pictures(prometheus_url: str, views: Mapping[str, View], width: float = WIDTH_PX) -> dict[str, str]:
    """SVG of each dashboard that is named, by name. Raises `Incomplete` when a query fails."""
    source = Prometheus(prometheus_url)
    found, drawn = dashboards(), {}
    try:
        for name, view in views.items():
            data = await load(found[name], source, view)
            if data.errors:
                raise Incomplete(f"{name}: {data.errors[0]}")
            drawn[name] = drawing.draw(found[name], data, width)
    finally:
        await source.close()
    return drawn


def save(folder: Path, drawn: Mapping[str, str]) -> list[Path]:
    """Writes NAME.svg for each picture; the folder is made where it is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, picture in drawn.items():
        (folder / f"{name}.svg").write_text(picture, encoding="utf-8")
    return [folder / f"{name}.svg" for name in drawn]


def main() -> int:
    parser = argparse.ArgumentParser(description="Pictures of all dashboards, as SVG.")
    parser.add_argument("--prometheus", required=True, help="its address, such as http://127.0.0.1:9090")
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=900.0, help="how much time they show, up to now")
    parser.add_argument("--scrape-interval-s", type=float, help="where it is shorter than the dashboards' 30 s")
    parser.add_argument("--width", type=float, default=WIDTH_PX, help="in pixels")
    parser.add_argument("--var", action="append", default=[], metavar="service=order", help="a variable's value")
    given = parser.parse_args()
    now_s = time.time()
    variables = dict(one.split("=", 1) for one in given.var)
    view = View(Span(now_s - given.seconds, now_s), variables, given.scrape_interval_s)
    drawn = asyncio.run(pictures(given.prometheus, dict.fromkeys(dashboards(), view), given.width))
    sys.stdout.writelines(f"{path}\n" for path in save(given.folder, drawn))
    return 0


if __name__ == "__main__":
    sys.exit(main())
