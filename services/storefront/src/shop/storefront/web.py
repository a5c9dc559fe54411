"""What every page module uses: rendering, form parsing, sessions, and error pages."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Mapping
from datetime import datetime, time
from functools import lru_cache
from operator import itemgetter
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from jinja2 import Environment
from markupsafe import Markup
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shop.contracts.money import Address
from shop.contracts.store import StoreSettings
from shop.kit import telemetry
from shop.kit.app import service_of
from shop.kit.errors import Problem, Unavailable, unavailable_problem
from shop.kit.formatting import Formats, formats
from shop.kit.observe import UNMATCHED
from shop.kit.postal import postal_lines
from shop.kit.sessions import Session, posted_form
from shop.kit.templates import page_environment
from shop.storefront.assets import asset_url
from shop.storefront.carts import MAX_QUANTITY
from shop.storefront.error_texts import error_text
from shop.storefront.forms import FIELD_NAMES, address_rules, decimal_text
from shop.storefront.labels import age_text, label, state_label
from shop.storefront.service import Storefront
from shop.storefront.sessions import Visitor
from shop.storefront.site_paths import category_url

MAX_FLASH_CHARACTERS = 300
LOCAL_PATH = re.compile(r"/(?![/\\])[^\x00-\x20\\]*")

log = logging.getLogger(__name__)


class SignInRequired(Exception):
    """Raised by pages that need a session; handled by a redirect to the sign-in page, which leads back."""


@lru_cache(maxsize=8)
def make_environment(store: StoreSettings) -> Environment:
    """The templates with the filters that pages use."""
    environment = page_environment("shop.storefront")
    written = formats_of(store)
    environment.filters.update(
        money=lambda money: written.money(money.amount, money.currency),
        moment=written.moment,
        day=written.day,
        clock=written.clock,
        calendar_day=lambda day: written.day(datetime.combine(day, time(12), written.zone)),
        state_label=state_label,
        label=label,
        country=written.country,
        address_lines=lambda place: postal_lines(place.model_dump(include=set(Address.model_fields))),
        amount=lambda minor: written.money(minor, store.currency),
        decimal=decimal_text,
        age=age_text,
        whole=written.whole,
    )
    environment.globals.update(
        store=store,
        asset_url=asset_url,
        category_url=category_url,
        countries=sorted(((code, written.country(code)) for code in store.served), key=itemgetter(1)),
        address_rules=lambda values: address_rules(store, values),
        max_quantity=MAX_QUANTITY,
        field_names=FIELD_NAMES,
        query=None,
        category=None,
        canonical=None,
        site_url=None,
    )
    return environment


def formats_of(store: StoreSettings) -> Formats:
    """The store's formats of amounts, times and countries."""
    return formats(store.country, store.language, store.time_zone)


def public_url(request: Request, path: str) -> str:
    """The absolute URL of `path` as the client addresses this shop, also behind proxies."""
    return str(request.base_url).rstrip("/") + path


def with_query(path: str, **parameters: Any) -> str:
    """`path` with the parameters that are not empty."""
    given = {name: value for name, value in parameters.items() if value}
    return f"{path}?{urlencode(given)}" if given else path


def visitor_of(request: Request) -> Visitor:
    visitor: Visitor = request.state.visitor
    return visitor


async def page(request: Request, template: str, *, status: int = 200, **values: Any) -> HTMLResponse:
    """The rendered template, with categories, session, cart count and flash message."""
    shop: Storefront = request.app.state.service
    visitor = visitor_of(request)
    categories, cart = await asyncio.gather(shop.backends.catalogue.known_categories(), shop.carts.shown(visitor))
    frame = {
        "session": visitor.session,
        "flash": visitor.take_flash(),
        "csrf": lambda: Markup('<input type="hidden" name="csrf_token" value="{}">').format(visitor.csrf_token),
        "categories": categories,
        "cart_count": sum(cart.values()),
        "sells_food": shop.food is not None,
        "has_arcade": shop.arcade is not None,
        "recommends": shop.recommends,
        "has_control_room": shop.settings.ops,
    }
    environment: Environment = request.app.state.templates
    html = environment.get_template(template).render(frame | values)
    return HTMLResponse(html, status)


def redirect(request: Request, path: str, flash: str | None = None) -> Response:
    """A redirect after a form (303), with a flash message for the next page."""
    if flash:
        visitor_of(request).flash = flash[:MAX_FLASH_CHARACTERS]
    return RedirectResponse(path, 303)


def local_path(text: str) -> str:
    """`text` if it is a path of this shop, else the front page: no open redirects."""
    return text if LOCAL_PATH.fullmatch(text) else "/"


async def signed_in(request: Request) -> Session:
    shop: Storefront = request.app.state.service
    session = await shop.valid_session(visitor_of(request))
    if session is None:
        raise SignInRequired
    return session


async def admin_session(session: Annotated[Session, Depends(signed_in)]) -> Session:
    if session.role != "admin":
        raise Problem(403, "admin_only", "This page is for administrators only.")
    return session


Shop = Annotated[Storefront, Depends(service_of)]
CurrentVisitor = Annotated[Visitor, Depends(visitor_of)]
PostedForm = Annotated[dict[str, str], Depends(posted_form)]
SignedIn = Annotated[Session, Depends(signed_in)]
Admin = Annotated[Session, Depends(admin_session)]


async def error_page(request: Request, status: int, code: str, detail: str, headers: Mapping[str, str]) -> Response:
    """An error page with a text and a link back."""
    heading, text = error_text(status, code, detail)
    retry = request.url.path if status in {429, 503} and request.method == "GET" else None
    trace_id = telemetry.trace_id() if status >= 500 else ""
    answer = await page(
        request, "error.html", status=status, number=status, heading=heading, text=text, back=retry, trace_id=trace_id
    )
    answer.headers.update(headers)
    return answer


def to_sign_in(request: Request) -> Response:
    back = request.url.path if request.method == "GET" else request.headers.get("referer", "/")
    back = "/" + back.split("://", 1)[-1].partition("/")[2] if "://" in back else back
    return RedirectResponse(with_query("/sign-in", next=local_path(back)), 303)


def install_error_pages(app: FastAPI) -> None:
    """Error pages in place of the kit's problem documents."""

    @app.exception_handler(SignInRequired)
    async def _sign_in(request: Request, _: SignInRequired) -> Response:
        return to_sign_in(request)

    @app.exception_handler(Problem)
    async def _problem(request: Request, problem: Problem) -> Response:
        if not is_page(request.scope):
            return problem.response()
        if problem.status == 401:
            visitor_of(request).session = None
            return to_sign_in(request)
        return await error_page(request, problem.status, problem.code, problem.detail, problem.headers)

    @app.exception_handler(Unavailable)
    async def _unavailable(request: Request, error: Unavailable) -> Response:
        if not is_page(request.scope):
            return unavailable_problem(error).response()
        headers = {"Retry-After": "5"}
        return await error_page(request, 503, f"{error.service}_unavailable", "", headers)

    @app.exception_handler(RequestValidationError)
    async def _validation(request: Request, error: RequestValidationError) -> Response:
        """Only paths and queries are validated by FastAPI: an invalid path parameter is 404, an invalid query 400."""
        status = 404 if any(wrong["loc"][0] == "path" for wrong in error.errors()) else 400
        return await error_page(request, status, "", "", {})

    @app.exception_handler(HTTPException)
    async def _http(request: Request, error: HTTPException) -> Response:
        if not is_page(request.scope):
            return Response(status_code=error.status_code)
        return await error_page(request, error.status_code, "", str(error.detail), error.headers or {})


def is_page(scope: Scope) -> bool:
    return "visitor" in scope.get("state", {})


class ErrorPageMiddleware:
    """Logs unexpected exceptions and answers with an error page."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def recording_send(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, recording_send)
        except Exception:
            if started or not is_page(scope):
                raise
            route = getattr(scope.get("route"), "path", UNMATCHED)
            log.exception("page failed", extra={"event": "page_failed", "route": route})
            answer = await error_page(Request(scope, receive), 500, "", "", {})
            await answer(scope, receive, send)
