from __future__ import annotations

from fastapi import FastAPI

from shop.gateway import api, instances
from shop.gateway.gateway import Gateway, GatewayMiddleware
from shop.gateway.settings import Settings
from shop.kit.app import create_app


def make_app(settings: Settings) -> FastAPI:
    return create_app(
        settings,
        title="Gateway",
        routers=[api.router, api.documentation, instances.router, instances.upstreams],
        build=Gateway.build,
        middleware=[(GatewayMiddleware, {})],
        uses_bus=False,
        documented=False,
        behind_gateway=False,
    )


app = make_app(Settings())
