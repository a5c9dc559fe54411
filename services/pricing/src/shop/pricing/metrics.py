"""What pricing counts."""

from __future__ import annotations

from prometheus_client import Counter

from shop.contracts.pricing import QuoteStatus
from shop.kit.exposition import start_at_zero

QUOTES = Counter("shop_pricing_quotes_total", "Quotes for orders by their result", ["kind", "result"])
start_at_zero(QUOTES, ["retail", "food"], QuoteStatus)
