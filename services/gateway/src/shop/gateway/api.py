"""What the gateway answers itself: the merged API documentation."""

from __future__ import annotations

from typing import Annotated

import orjson
from fastapi import Depends
from fastapi.responses import Response

from shop.gateway.gateway import Gateway
from shop.kit.app import service_of
from shop.kit.compression import PUBLIC_NOW
from shop.kit.docs import OPENAPI_URL, docs_router
from shop.kit.routing import router as make_router

Service = Annotated[Gateway, Depends(service_of)]

router = make_router(include_in_schema=False)
documentation = docs_router("Shop API")


@router.get(OPENAPI_URL)
async def openapi(service: Service) -> Response:
    return Response(orjson.dumps(await service.openapi.document()), media_type="application/json", headers=PUBLIC_NOW)
