"""The pictures of restaurants."""

from __future__ import annotations

from fastapi import APIRouter, Depends
from starlette.responses import Response

from shop.covers.cuisines import cuisine_svg
from shop.storefront.food.service import food_of

router = APIRouter(prefix="/eat-pictures", include_in_schema=False, dependencies=[Depends(food_of)])

HEADERS = {"Cache-Control": "public, max-age=86400", "X-Content-Type-Options": "nosniff"}
MAX_WORD_CHARACTERS = 80


@router.get("/{cuisine}/{name}.svg")
async def picture(cuisine: str, name: str) -> Response:
    """The picture of a restaurant; anyone may keep it for a day."""
    svg = cuisine_svg(cuisine[:MAX_WORD_CHARACTERS], name[:MAX_WORD_CHARACTERS])
    return Response(svg, headers=HEADERS, media_type="image/svg+xml")
