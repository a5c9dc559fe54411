"""The web page around the picture of a dashboard."""

from __future__ import annotations

import html
from collections.abc import Iterator, Mapping, Sequence
from urllib.parse import urlencode

from observability.pictures.data import Choice
from observability.pictures.model import Dashboard

RANGES = ("now-5m", "now-15m", "now-1h", "now-3h", "now-12h", "now-1d", "now-7d")
KEPT = ("from", "to")
"""What a link to another dashboard takes along, beside the variables."""


def written(
    dashboard: Dashboard,
    all_of_them: Sequence[Dashboard],
    choices: Sequence[Choice],
    asked: Mapping[str, str],
    span: str,
) -> str:
    """The page of one dashboard. `asked` is its query string, `span` where it begins when that does not say."""
    picture = f"/d/{dashboard.uid}/picture.svg?{urlencode(asked)}"
    return _document(
        dashboard.title,
        f"""<header><nav aria-label="Dashboards">{"".join(_links(dashboard, all_of_them, asked))}</nav></header>
<h1>{html.escape(dashboard.title)}</h1>
<p class="about">{html.escape(dashboard.description)}</p>
<form>{"".join(_selects(choices, asked, span))}<noscript><button>Show</button></noscript>
<span id="state" role="status"></span></form>
<main id="picture"><noscript><img src="{html.escape(picture)}" alt="{html.escape(dashboard.title)}"></noscript></main>
<script src="/page.js"></script>""",
    )


def message(text: str) -> str:
    """A page that says what is wrong."""
    return _document("Dashboards", f'<h1>No dashboard</h1><p class="about">{html.escape(text)}</p>')


def _document(title: str, body: str) -> str:
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(title)}</title><link rel="stylesheet" href="/page.css"></head><body>
{body}
</body></html>
"""


def _links(dashboard: Dashboard, all_of_them: Sequence[Dashboard], asked: Mapping[str, str]) -> Iterator[str]:
    kept = urlencode({name: value for name, value in asked.items() if name in KEPT or name.startswith("var-")})
    for one in all_of_them:
        here = ' aria-current="page"' if one.uid == dashboard.uid else ""
        yield f'<a href="/d/{one.uid}{html.escape(f"?{kept}" if kept else "")}"{here}>{html.escape(one.title)}</a>'


def _selects(choices: Sequence[Choice], asked: Mapping[str, str], span: str) -> Iterator[str]:
    """One for each variable that has a choice, and one for the time."""
    chosen_span = asked.get("from", span)
    spans = RANGES if chosen_span in RANGES else (chosen_span, *RANGES)
    for one in choices:
        if len(one.values) > 1:
            yield _select(
                f"var-{one.variable.name}", one.variable.label, {value: value for value in one.values}, one.chosen
            )
    if panel := asked.get("viewPanel"):
        yield f'<input type="hidden" name="viewPanel" value="{html.escape(panel)}">'
    yield _select("from", "Last", {span: span.removeprefix("now-") for span in spans}, chosen_span)


def _select(name: str, label: str, options: Mapping[str, str], chosen: str) -> str:
    made = "".join(
        f'<option value="{html.escape(value)}"{" selected" if value == chosen else ""}>{html.escape(shown)}</option>'
        for value, shown in options.items()
    )
    return f'<label>{html.escape(label)} <select name="{html.escape(name)}">{made}</select></label>'
