"""HTTP: parse, call the service, answer."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

import orjson
from fastapi import Depends, Query, Response

from shop.kit.app import service_of
from shop.kit.auth import CurrentAdmin, MaybeUser
from shop.kit.compression import PUBLIC_NOW
from shop.kit.lean import lean
from shop.kit.routing import router as make_router
from shop.recommendation import schemas
from shop.recommendation.domain import DEFAULT_RESULTS, MAX_RESULTS, Recommended, Wanted
from shop.recommendation.service import RecommendationService

PRIVATE = {"Cache-Control": "private, no-store"}
MAX_CATEGORY_CHARACTERS = 60

Service = Annotated[RecommendationService, Depends(service_of)]
MaxResults = Annotated[int, Query(ge=0, le=MAX_RESULTS, description=f"0 means {DEFAULT_RESULTS}")]
Category = Annotated[str, Query(max_length=MAX_CATEGORY_CHARACTERS, description="Only products of this category")]

router = make_router(prefix="/api/v1/recommendations", tags=["recommendations"])


@router.get("", response_model=schemas.RecommendationsView)
@lean
async def list_recommendations(
    service: Service,
    customer: MaybeUser,
    product_id: Annotated[UUID | None, Query(description="Products similar to this one")] = None,
    category: Category = "",
    max_results: MaxResults = DEFAULT_RESULTS,
) -> Response:
    """Products for the customer whose token is sent, or for everybody; with ``product_id`` those similar to it."""
    wanted = Wanted(max_results or DEFAULT_RESULTS, category)
    user_id = customer.user_id if customer else None
    if product_id is None:
        found = await service.recommend(user_id, wanted)
    else:
        found = await service.similar_to(product_id, user_id, wanted)
    return _json({"items": _items(found)}, PRIVATE if customer else PUBLIC_NOW)


@router.get("/model")
async def get_recommendation_model(service: Service, _: CurrentAdmin) -> schemas.ModelView:
    """What the model knows, for administrators."""
    loaded, model = service.loaded, service.loaded.model
    trained_at = datetime.fromtimestamp(loaded.trained_at, UTC) if loaded.version else None
    return schemas.ModelView(
        version=loaded.version,
        trained_at=trained_at,
        age_s=(service.clock.now() - trained_at).total_seconds() if trained_at else None,
        orders=loaded.orders,
        products=len(model.popular()),
        pairs=model.pair_count,
        coverage=service.coverage(),
        strongest_pairs=[schemas.PairView(**pair._asdict()) for pair in await service.strongest_pairs()],
        customers=await service.aliases(),
    )


@router.get("/preview", response_model=schemas.PreviewView)
async def get_preview(
    service: Service,
    _: CurrentAdmin,
    customer: Annotated[UUID, Query(description="One of the model's anonymised customers")],
    category: Category = "",
    max_results: MaxResults = DEFAULT_RESULTS,
) -> Response:
    """What one customer would be shown and from which purchases, for administrators, who do not learn who it is."""
    seen = await service.preview(customer, Wanted(max_results or DEFAULT_RESULTS, category))
    purchases = [{"product_id": product.id, "title": product.title} for product in seen.purchases]
    document = {"customer": customer, "purchases": purchases, "items": _items(seen.recommended)}
    return _json(document, PRIVATE)


def _items(found: Iterable[Recommended]) -> list[orjson.Fragment]:
    """The products' own documents with four more members."""
    return [orjson.Fragment(one.product.document[:-1] + b"," + orjson.dumps(_reason(one))[1:]) for one in found]


def _reason(one: Recommended) -> dict[str, object]:
    return {"reason": one.reason, "reason_kind": one.kind, "reason_product_id": one.because, "score": one.score}


def _json(document: object, headers: dict[str, str]) -> Response:
    return Response(orjson.dumps(document), media_type="application/json", headers=headers)
