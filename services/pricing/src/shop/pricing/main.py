"""The application: ``python -m shop.kit.serve pricing``."""

from __future__ import annotations

from shop.kit.app import create_app
from shop.pricing import api
from shop.pricing.consumers import consumers
from shop.pricing.service import PricingService
from shop.pricing.settings import Settings

app = create_app(
    Settings(),
    title="Pricing",
    routers=[api.router, api.internal],
    build=PricingService.build,
    consumers=consumers,
)
