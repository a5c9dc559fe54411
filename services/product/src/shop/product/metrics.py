"""What product counts."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

from shop.kit.exposition import start_at_zero

RESERVATIONS = Counter("shop_product_reservations_total", "Reservations of stock by their result", ["result"])
STOCK_OUTS = Counter("shop_product_stock_outs_total", "Times that a product's stock was used up")
SOLD_OUT = Gauge("shop_product_sold_out", "Products without stock, as of the last count")
DRIFT = Gauge(
    "shop_product_stock_drift",
    "Products whose stock is not what movements and reservations leave, as of the last count",
)
start_at_zero(RESERVATIONS, ["reserved", "released", "unknown_product", "insufficient_stock"])
