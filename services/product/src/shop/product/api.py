"""HTTP: parse, call the service, answer."""

from __future__ import annotations

import hashlib
from typing import Annotated, Any
from uuid import UUID

from fastapi import Depends, Header, Query, Request, Response

from shop.contracts.calls import Batch, Released, ReleaseRequest, Results
from shop.contracts.product import RELEASE, RESERVE, ReservationRejected, ReservationRequest, Reserved
from shop.kit.app import service_of
from shop.kit.auth import CurrentAdmin, internal_only
from shop.kit.compression import PUBLIC_NOW, matches
from shop.kit.errors import invalid_field
from shop.kit.idempotency import OptionalKey
from shop.kit.lean import lean
from shop.kit.pages import MAX_LIMIT, Cursor, Limit, Page
from shop.kit.routing import router as make_router
from shop.product import schemas
from shop.product.reads import Answer
from shop.product.service import ProductService

COVER_MAX_AGE_S = 86_400
MAX_IDS_LENGTH = MAX_LIMIT * 40

UNCHANGED: dict[int | str, dict[str, Any]] = {304: {"description": "What the client has is right"}}

Service = Annotated[ProductService, Depends(service_of)]
KnownTags = Annotated[str, Header(alias="If-None-Match", description="ETags of answers that the client has")]

router = make_router(prefix="/api/v1/products", tags=["products"])
internal = make_router(tags=["internal"], dependencies=[Depends(internal_only)])
Reservations = Results[Reserved | ReservationRejected]


@router.get("", response_model=Page[schemas.ProductView], responses=UNCHANGED)
@lean
async def list_products(
    service: Service,
    query: Annotated[str, Query(max_length=200, description="Words of title, author, category or SKU")] = "",
    category: Annotated[str | None, Query(max_length=60)] = None,
    sort: schemas.Sort = "name",
    ids: Annotated[str | None, Query(max_length=MAX_IDS_LENGTH, description="Product ids, comma-separated")] = None,
    limit: Limit = 20,
    cursor: Cursor = None,
    if_none_match: KnownTags = "",
) -> Response:
    """The catalogue by page, or the products that ``ids`` names."""
    if ids is not None:
        return _public(await service.by_ids(_ids(ids)), if_none_match)
    return _public(await service.page(query, category, sort, cursor, limit), if_none_match)


@router.get("/categories", response_model=Page[schemas.CategoryView], responses=UNCHANGED)
@lean
async def list_product_categories(service: Service, if_none_match: KnownTags = "") -> Response:
    """The categories with the number of products in each."""
    return _public(await service.categories(), if_none_match)


@router.get("/{product_id}", response_model=schemas.ProductView, responses=UNCHANGED)
@lean
async def get_product(product_id: UUID, service: Service, if_none_match: KnownTags = "") -> Response:
    return _public(await service.product(product_id), if_none_match)


@router.get("/{product_id}/cover.svg", responses={200: {"content": {"image/svg+xml": {}}}, 304: {}})
async def get_product_cover(product_id: UUID, request: Request, service: Service) -> Response:
    """The product's picture: a book's cover drawn from its title and author, a neutral one for what has no author."""
    picture = await service.picture(product_id)
    tag = f'W/"{hashlib.sha256(picture).hexdigest()[:16]}"'
    headers = {"ETag": tag, "Cache-Control": f"public, max-age={COVER_MAX_AGE_S}"}
    if matches(request.headers.get("if-none-match", ""), tag):
        return Response(status_code=304, headers=headers)
    headers["Content-Security-Policy"] = "default-src 'none'; style-src 'unsafe-inline'"
    return Response(picture, media_type="image/svg+xml", headers=headers)


@router.post("", status_code=201)
async def create_product(new: schemas.NewProduct, _: CurrentAdmin, service: Service) -> schemas.ProductView:
    """Add a product to the catalogue, for administrators."""
    return schemas.ProductView.model_validate(await service.create(new))


@router.patch("/{product_id}")
async def change_product(
    product_id: UUID, change: schemas.ProductChange, _: CurrentAdmin, service: Service
) -> schemas.ProductView:
    """Change what is named, for administrators."""
    return schemas.ProductView.model_validate(await service.change(product_id, change))


@router.post("/{product_id}/stock")
async def change_product_stock(
    product_id: UUID, change: schemas.StockChange, admin: CurrentAdmin, service: Service, key: OptionalKey = None
) -> schemas.ProductView:
    """Add to the stock or write some off, for administrators; once per Idempotency-Key if there is one."""
    moved = await service.move_stock(product_id, change.delta, change.reason, key, admin.user_id)
    return schemas.ProductView.model_validate(moved)


@internal.post(RESERVE.path, response_model=Reservations)
@lean
async def reserve(batch: Batch[ReservationRequest], service: Service) -> Response:
    """Reserve stock for orders, each in full or not at all; idempotent by order id."""
    results = Reservations(results=await service.reserve(batch.items))
    return Response(results.model_dump_json(exclude_none=True), media_type="application/json")


@internal.post(RELEASE.path)
async def release(batch: Batch[ReleaseRequest], service: Service) -> Results[Released]:
    """Release the orders' stock; an order that reserved nothing yet cannot reserve afterwards."""
    await service.release([item.order_id for item in batch.items])
    return Results(results=[Released(order_id=item.order_id) for item in batch.items])


def _ids(text: str) -> list[UUID]:
    try:
        ids = [UUID(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise invalid_field("ids", "Not a list of product ids.") from None
    if len(ids) > MAX_LIMIT:
        raise invalid_field("ids", f"At most {MAX_LIMIT} ids.")
    return ids


def _public(answer: Answer, if_none_match: str) -> Response:
    """The same for everybody, to be revalidated each time, since stock and prices change; 304 if it is known."""
    headers = {**PUBLIC_NOW, "ETag": answer.etag}
    if if_none_match and matches(if_none_match, answer.etag):
        return Response(status_code=304, headers=headers)
    return Response(answer.body, media_type="application/json", headers=headers)
