"""The API documentation of all services, merged."""

from __future__ import annotations

from typing import Annotated

import orjson
from fastapi import Depends
from fastapi.openapi.utils import get_openapi
from fastapi.responses import Response

from shop.gateway import instances
from shop.gateway.gateway import Gateway
from shop.kit.app import service_of
from shop.kit.compression import PUBLIC_NOW
from shop.kit.docs import OPENAPI_URL, docs_router
from shop.kit.routing import router as make_router

Service = Annotated[Gateway, Depends(service_of)]

router = make_router(include_in_schema=False)
documentation = docs_router("Shop API")
OWN = get_openapi(title="Gateway", version="v1", routes=instances.router.routes)


@router.get(OPENAPI_URL)
async def openapi(service: Service) -> Response:
    return Response(
        orjson.dumps(await service.openapi.document(OWN)), media_type="application/json", headers=PUBLIC_NOW
    )
