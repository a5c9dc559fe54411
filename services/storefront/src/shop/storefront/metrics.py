"""What the storefront counts: how many visitors come how far on the way to an order."""

from __future__ import annotations

from prometheus_client import Counter

FUNNEL = Counter(
    "shop_storefront_funnel_total",
    "Steps towards an order: pages of products seen, products put into carts, checkouts begun, orders placed",
    ["step"],
)
VIEW, CART, CHECKOUT, ORDER = (FUNNEL.labels(step) for step in ("view", "cart", "checkout", "order"))
