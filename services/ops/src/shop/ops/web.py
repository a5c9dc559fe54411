"""What every page module uses: templates, rendering, error pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from jinja2 import Environment
from markupsafe import Markup
from starlette.responses import HTMLResponse, Response

from shop.kit.app import service_of
from shop.kit.assets import Assets
from shop.kit.errors import Problem, Unavailable, unavailable_problem, validation_problem
from shop.kit.templates import page_environment
from shop.ops.access import SignInRequired, to_sign_in, visitor_of
from shop.ops.control_room import ControlRoom

PREFIX = "/ops"
ASSETS = Assets(Path(__file__).parent / "static", f"{PREFIX}/static")
Room = Annotated[ControlRoom, Depends(service_of)]


def make_environment() -> Environment:
    """The templates with the filters that pages use."""
    environment = page_environment("shop.ops")
    environment.filters.update(ms=milliseconds, moment=moment, clock=clock, bytes=in_mebibytes)
    environment.globals.update(asset_url=ASSETS.url, prefix=PREFIX)
    return environment


def milliseconds(value: float) -> str:
    """0.42 ms, 12 ms, 1.25 s."""
    if value >= 1_000:
        return f"{value / 1_000:.2f} s"
    return f"{value:.0f} ms" if value >= 10 else f"{value:.2f} ms"


def moment(nanoseconds: int) -> str:
    """Date and time in UTC."""
    return datetime.fromtimestamp(nanoseconds / 1e9, UTC).strftime("%Y-%m-%d %H:%M:%S")


def clock(iso: str) -> str:
    """The time of day of a moment in ISO 8601, in milliseconds."""
    try:
        return datetime.fromisoformat(iso).strftime("%H:%M:%S.%f")[:-3]
    except ValueError:
        return ""


def in_mebibytes(value: float) -> str:
    return f"{value / (1 << 20):.0f} MiB"


def page(request: Request, template: str, *, status: int = 200, **values: Any) -> HTMLResponse:
    """The rendered template with session, form token and flash message."""
    visitor = visitor_of(request)
    room: ControlRoom = request.app.state.service
    frame = {
        "session": visitor.session,
        "flash": visitor.take_flash(),
        "csrf": Markup('<input type="hidden" name="csrf_token" value="{}">').format(visitor.csrf_token),
        "path": request.url.path,
        "is_local": room.levers is not None,
    }
    environment: Environment = request.app.state.templates
    return HTMLResponse(environment.get_template(template).render(frame | values), status)


@dataclass(frozen=True, slots=True)
class Number:
    """A number from 0 to ``most`` that a lever needs; ``value`` is offered."""

    name: str
    label: str
    value: float
    most: float


def confirmation(
    request: Request,
    title: str,
    explanation: str,
    back: str,
    *,
    hidden: Mapping[str, str] | None = None,
    numbers: Sequence[Number] = (),
) -> HTMLResponse:
    """The page on which a lever asks; its form comes back with ``confirmed``, ``hidden`` and ``numbers``."""
    return page(
        request, "confirm.html", title=title, explanation=explanation, back=back, hidden=hidden or {}, numbers=numbers
    )


def install_error_pages(app: FastAPI) -> None:
    """Error pages for paths of pages in place of the kit's problem documents."""

    @app.exception_handler(SignInRequired)
    async def _sign_in(request: Request, required: SignInRequired) -> Response:
        return to_sign_in(request, required)

    @app.exception_handler(Problem)
    async def _problem(request: Request, problem: Problem) -> Response:
        if not is_page(request):
            return problem.response()
        return page(request, "error.html", status=problem.status, detail=problem.detail)

    @app.exception_handler(Unavailable)
    async def _unavailable(request: Request, error: Unavailable) -> Response:
        problem = unavailable_problem(error)
        return (
            page(request, "error.html", status=503, detail=problem.detail) if is_page(request) else problem.response()
        )

    @app.exception_handler(RequestValidationError)
    async def _validation(request: Request, error: RequestValidationError) -> Response:
        if not is_page(request):
            return validation_problem(error.errors()).response()
        return page(request, "error.html", status=404, detail="There is no such page, or a filter has a wrong value.")


def is_page(request: Request) -> bool:
    return hasattr(request.state, "visitor")
