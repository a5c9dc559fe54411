"""HTTP: parse, call the service, answer."""

from __future__ import annotations

from typing import Annotated

import orjson
from fastapi import Depends, Header, Response

from shop.contracts.calls import Batch, Released, ReleaseRequest, Results
from shop.contracts.pricing import QUOTE, RELEASE, Quoted, QuoteRejected, QuoteRequest
from shop.kit.app import service_of
from shop.kit.auth import CurrentAdmin, MaybeUser, internal_only
from shop.kit.lean import document, lean
from shop.kit.pages import Cursor, Limit, Page, cut_page, decode_cursor
from shop.kit.routing import router as make_router
from shop.pricing import schemas
from shop.pricing.service import PricingService

Service = Annotated[PricingService, Depends(service_of)]

router = make_router(prefix="/api/v1", tags=["pricing"])
internal = make_router(tags=["internal"], dependencies=[Depends(internal_only)])
Quotes = Results[Quoted | QuoteRejected]


@router.post("/quotes", response_model=schemas.QuoteView)
async def create_quote(request: schemas.AnyQuoteRequest, service: Service, customer: MaybeUser) -> Response:
    """What a cart costs, with discount, tax and shipping. Redeems nothing, and needs no sign-in: a token only makes the
    customer's own coupons count.

    Food is priced by its restaurant, and its delivery by the way: 404 `unknown_restaurant`, `unknown_item`; 409
    `restaurant_closed`, `restaurant_paused`, `item_sold_out`, `kitchen_full`; 422 `invalid_choices`,
    `address_not_found`, `address_out_of_reach`, `minimum_order_not_met`, `food_not_offered`.
    """
    user_id = customer.user_id if customer else None
    if isinstance(request, schemas.FoodQuoteRequest):
        document = await service.quote_food(request, user_id)
    else:
        document = await service.quote(request.items, request.country, request.coupon or None, user_id)
    return Response(orjson.dumps(document), media_type="application/json")


@router.get("/promotions")
async def list_promotions(
    _: CurrentAdmin, service: Service, limit: Limit = 20, cursor: Cursor = None
) -> Page[schemas.PromotionView]:
    """The promotions by code, for administrators."""
    after = decode_cursor(cursor, str)[0] if cursor else ""
    found = await service.promotions(after, limit + 1)
    promotions, next_cursor = cut_page(found, limit, lambda promotion: (promotion.code,))
    items = [schemas.promotion_view(promotion, service.currency) for promotion in promotions]
    return Page(items=items, next_cursor=next_cursor)


@router.get("/promotions/{code}")
async def get_promotion(code: schemas.Code, _: CurrentAdmin, service: Service) -> schemas.PromotionView:
    return schemas.promotion_view(await service.promotion(code), service.currency)


@router.put("/promotions/{code}")
async def set_promotion(
    code: schemas.Code,
    rule: schemas.PromotionRule,
    _: CurrentAdmin,
    service: Service,
    if_none_match: Annotated[str | None, Header(description="`*` creates, and replaces nothing")] = None,
) -> schemas.PromotionView:
    """Create or replace a promotion. Orders that redeemed it keep the rule that they saw.

    With `If-None-Match: *` a code that is taken is 412 `promotion_exists`.
    """
    create = if_none_match is not None and if_none_match.strip() == "*"
    return schemas.promotion_view(await service.put_promotion(rule.promotion(code), create=create), service.currency)


@internal.post(QUOTE.path, response_model=Quotes)
@lean
async def quote_orders(batch: Batch[QuoteRequest], service: Service) -> Response:
    """Price orders and redeem their coupons; idempotent by order id."""
    results = Quotes(results=await service.quote_orders(batch.items))
    return document(results)


@internal.post(RELEASE.path)
async def release(batch: Batch[ReleaseRequest], service: Service) -> Results[Released]:
    """Release the orders' coupons; an order that redeemed nothing yet cannot redeem afterwards."""
    await service.release([item.order_id for item in batch.items])
    return Results(results=[Released(order_id=item.order_id) for item in batch.items])
