"""The application: ``python -m shop.kit.serve notification``."""

from __future__ import annotations

from shop.kit.app import create_app
from shop.notification import api, pages
from shop.notification.consumers import consumers
from shop.notification.service import NotificationService
from shop.notification.settings import Settings

settings = Settings()
routers = [api.router, *([pages.router] if settings.mailbox_port else [])]
app = create_app(settings, title="Notifications", routers=routers, build=NotificationService.build, consumers=consumers)
