"""Starts the control room: `python -m shop.kit.serve ops`."""

from shop.ops.app import make_app
from shop.ops.settings import Settings

app = make_app(Settings())
