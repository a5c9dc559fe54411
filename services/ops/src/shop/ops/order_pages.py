"""Pages of orders: the newest ones, and the journey of one."""

from __future__ import annotations

import asyncio
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Request
from starlette.responses import RedirectResponse, Response

from shop.contracts.order_history import History
from shop.kit.errors import Problem, Unavailable
from shop.ops.access import Admin, Fresh, PostedForm, visitor_of
from shop.ops.backends import Message, Payment
from shop.ops.control_room import ControlRoom
from shop.ops.journey import in_words, journey
from shop.ops.levers import audited
from shop.ops.model import Search, Span, Summary
from shop.ops.web import PREFIX, Room, confirmation, page

router = APIRouter(prefix=f"{PREFIX}/orders", include_in_schema=False)

ORDERS_ON_A_PAGE = 50
TRACES_OF_AN_ORDER = 10
RETRY = "Its steps are tried at once. Each takes effect once, however often it is tried."
NO_HISTORY = History(status="unknown", attempts=0)


@router.get("")
async def orders(
    request: Request,
    room: Room,
    session: Admin,
    order: Annotated[str, Query(max_length=100)] = "",
    state: Literal["", "pending"] = "",
) -> Response:
    """The newest orders or those whose saga waits, or the journey of the one whose id was entered."""
    if order.strip():
        try:
            return RedirectResponse(f"{PREFIX}/orders/{UUID(order.strip())}", 303)
        except ValueError:
            raise Problem(404, "unknown_order", "This is no id of an order.") from None
    found = await room.backends.orders(session.access_token, ORDERS_ON_A_PAGE, state)
    return page(request, "orders.html", orders=found, state=state, in_words=in_words)


@router.get("/{order_id}")
async def order(request: Request, room: Room, session: Admin, order_id: UUID) -> Response:
    """The journey. What a service that is away would add is missing, and the page says so."""
    token = session.access_token
    found = await room.backends.order(token, order_id)
    history, payments, messages = await asyncio.gather(
        room.backends.history(token, order_id),
        room.backends.payments(token, order_id),
        room.backends.messages(token, order_id),
        return_exceptions=True,
    )
    away = [part.service for part in (history, payments, messages) if isinstance(part, Unavailable)]
    known = history if isinstance(history, History) else NO_HISTORY
    for part in (history, payments, messages):
        if isinstance(part, BaseException) and not isinstance(part, Unavailable):
            raise part
    traces, spans = await _traced(room, str(order_id), known.trace_id)
    moments = journey(found, known, _list(payments, Payment), _list(messages, Message), spans)
    return page(
        request, "order.html", order=found, history=known, moments=moments, traces=traces, away=away,
        in_words=in_words,
    )  # fmt: skip


@router.post("/{order_id}/retry")
async def retry(request: Request, room: Room, session: Fresh, form: PostedForm, order_id: UUID) -> Response:
    """Ask, and with the answer let the order's saga be tried at once."""
    back = f"{PREFIX}/orders/{order_id}"
    if "confirmed" not in form:
        return confirmation(request, "Retry the saga", RETRY, back)
    outcome = "failed"
    try:
        await room.backends.retry(session.access_token, order_id)
        outcome, said = "done", "The saga is tried now."
    except Problem as problem:
        said = problem.detail
    finally:
        audited("retry", f"order {order_id}", session.user_id, outcome)
    visitor_of(request).flash = said
    return RedirectResponse(back, 303)


def _list[T](part: list[T] | BaseException, _: type[T]) -> list[T]:
    return [] if isinstance(part, BaseException) else part


async def _traced(room: ControlRoom, order_id: str, trace_id: str) -> tuple[list[Summary], list[Span]]:
    """The kept traces of the order and all their spans."""
    traces = await room.spans.find(Search(order_id=order_id, limit=TRACES_OF_AN_ORDER))
    ids = dict.fromkeys([*(one.trace_id for one in traces), *([trace_id] if trace_id else [])])
    spans = [span for one in ids for span in await room.spans.trace(one)]
    return traces, spans
