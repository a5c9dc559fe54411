"""The application: ``python -m shop.kit.serve delivery``."""

from __future__ import annotations

from shop.delivery import api, consumers, internal
from shop.delivery.service import DeliveryService
from shop.delivery.settings import Settings
from shop.kit.app import create_app

app = create_app(
    Settings(),
    title="Delivery",
    routers=[api.couriers, api.deliveries, internal.router],
    build=DeliveryService.build,
    consumers=consumers.consumers,
)
