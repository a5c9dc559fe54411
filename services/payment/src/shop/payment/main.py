"""The application: ``python -m shop.kit.serve payment``."""

from __future__ import annotations

from fastapi import FastAPI

from shop.kit.app import create_app
from shop.payment import api
from shop.payment.service import PaymentService
from shop.payment.settings import Settings


def application(settings: Settings) -> FastAPI:
    return create_app(settings, title="Payments", routers=[api.router, api.internal], build=PaymentService.build)


app = application(Settings())
