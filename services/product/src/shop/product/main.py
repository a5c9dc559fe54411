"""The application: ``python -m shop.kit.serve product``."""

from __future__ import annotations

from shop.kit.app import create_app
from shop.product import api
from shop.product.consumers import consumers
from shop.product.service import ProductService
from shop.product.settings import Settings

app = create_app(
    Settings(),
    title="Products",
    routers=[api.router, api.internal],
    build=ProductService.build,
    consumers=consumers,
)
