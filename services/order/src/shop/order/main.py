"""The application: ``python -m shop.kit.serve order``."""

from __future__ import annotations

from shop.kit.app import create_app
from shop.order import api
from shop.order.consumers import consumers
from shop.order.service import OrderService
from shop.order.settings import Settings

app = create_app(Settings(), title="Orders", routers=[api.router], build=OrderService.build, consumers=consumers)
