"""The page for a browser when the storefront cannot answer, without any other file."""

from __future__ import annotations

from fastapi.responses import HTMLResponse, Response

from shop.kit.errors import Problem

FAULT = 500
UNAVAILABLE = 503
PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta name="color-scheme" content="light dark">
<title>Not available at the moment</title>
</head>
<body>
<main>
<h1>The shop is not available at the moment</h1>
<p>{text}</p>
</main>
</body>
</html>
"""
NOT_SENT = "Nothing was changed. Please reload this page in a few seconds."
MAYBE_DONE = "Your request may have been carried out. Please check before you send it again."


def failure_page(problem: Problem, accept: str) -> Response | None:
    """The page for a failure (5xx) of the storefront; None for a client that does not ask for HTML."""
    if problem.status < FAULT or "text/html" not in accept.lower():
        return None
    text = NOT_SENT if problem.status == UNAVAILABLE else MAYBE_DONE
    return HTMLResponse(PAGE.format(text=text), problem.status, headers=problem.headers)
