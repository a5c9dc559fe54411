"""The application: ``python -m shop.kit.serve restaurant``."""

from __future__ import annotations

from shop.kit.app import create_app
from shop.restaurant import api, consumers, staff_api
from shop.restaurant.service import RestaurantService
from shop.restaurant.settings import Settings

app = create_app(
    Settings(),
    title="Restaurants",
    routers=[staff_api.router, api.router, api.internal],
    build=RestaurantService.build,
    consumers=consumers.consumers,
)
