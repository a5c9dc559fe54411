"""What an order brought: the part of its page that is fetched a moment after the purchase."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from fastapi import APIRouter, Depends, Request
from jinja2 import Environment
from starlette.responses import HTMLResponse, Response

from shop.storefront.arcade.service import Arcade, ArcadeShop, arcade_of
from shop.storefront.schemas import SOLD_STATES, Order
from shop.storefront.web import SignedIn

router = APIRouter(prefix="/orders", include_in_schema=False, dependencies=[Depends(arcade_of)])

FRESH = timedelta(minutes=1)
"""How long after its last change an order's XP may still be on their way."""


async def gain_frame(arcade: Arcade | None, token: str, order: Order) -> dict[str, Any]:
    """For the template: the XP of the order if they are known, else where to ask for them once more."""
    if arcade is None or order.state not in SOLD_STATES:
        return {"gained": None, "gain_url": "", "late": False}
    gained = await arcade.gained(token, order.id)
    awaited = gained is None and datetime.now(UTC) - order.updated_at < FRESH
    return {"gained": gained, "gain_url": f"/orders/{order.id}/gained" if awaited else "", "late": False}


@router.get("/{order_id}/gained")
async def gained(request: Request, order_id: UUID, arcade: ArcadeShop, session: SignedIn) -> Response:
    found = await arcade.gained(session.access_token, order_id)
    environment: Environment = request.app.state.templates
    return HTMLResponse(environment.get_template("arcade/gained.html").render(gained=found, gain_url="", late=True))
