"""Administrators' page about what the recommendation service has learned."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from shop.kit.errors import Problem
from shop.kit.sessions import Session
from shop.storefront.admin_pages import admin_page
from shop.storefront.catalogue_pages import search_text
from shop.storefront.schemas import RecommendationPreview
from shop.storefront.service import Storefront
from shop.storefront.web import Admin, Shop

router = APIRouter(prefix="/admin/recommendations", include_in_schema=False)

Customer = Annotated[str, Query(max_length=100)]

UNKNOWN_CUSTOMER = "There is no customer with this id, or they have not bought anything."


@router.get("")
async def recommendations(request: Request, shop: Shop, admin: Admin, customer: Customer = "") -> Response:
    """The model in numbers, its strongest pairs, and what one anonymised customer would be shown."""
    if not shop.recommends:
        raise Problem(404, "not_found", "This shop has no recommendations.")
    wanted = search_text(customer)
    model, (preview, problem) = await asyncio.gather(
        shop.backends.recommendations.model(admin.access_token), _preview(shop, admin, wanted)
    )
    frame = {"model": model, "preview": preview, "customer": wanted, "problem": problem}
    return await admin_page(request, "recommendations", status=404 if problem else 200, **frame)


async def _preview(shop: Storefront, admin: Session, customer: str) -> tuple[RecommendationPreview | None, str]:
    """What the customer would be shown, or an error text; neither without a customer."""
    if not customer:
        return None, ""
    try:
        return await shop.backends.recommendations.preview(admin.access_token, customer), ""
    except Problem as problem:
        if problem.status not in {400, 404, 422}:
            raise
        return None, UNKNOWN_CUSTOMER
