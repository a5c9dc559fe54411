"""Millbridge, the town that food is delivered in: streets, addresses, shortest ways, and its map as SVG.

A fictional town, generated (`python -m shop.town.generate`) and stored in the package. Pure: no database, no network,
no other package of the shop. Routes and distances need the extra `shop-town[routes]` (numpy and scipy), which is first
loaded when they are first asked for; addresses and the map need nothing.
"""

from __future__ import annotations

from shop.town.drawing import Drawing
from shop.town.geometry import Position, Route
from shop.town.town import Town, town

__all__ = ["Drawing", "Position", "Route", "Town", "town"]
