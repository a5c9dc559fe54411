from __future__ import annotations

from shop.kit.app import create_app
from shop.user import api
from shop.user.service import UserService
from shop.user.settings import Settings

app = create_app(Settings(), title="Users", routers=[api.router, api.well_known], build=UserService.build)
