"""Starts the storefront: `python -m shop.kit.serve storefront`."""

from shop.storefront.app import make_app
from shop.storefront.settings import Settings

app = make_app(Settings())
