"""Settings of the product service."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from shop.contracts.store import StoreSettings
from shop.kit.settings import ServiceSettings

MAX_BATCH_BYTES = 1024 * 1024
"""A batch of reservations; the gateway keeps customers' bodies far smaller."""


class Settings(ServiceSettings):
    """``read_cache_seconds`` is how old a catalogue answer may be; stock is decided in the database alone.
    ``stock_count_seconds``: pause between two comparisons of the stock with its movements, which read all
    reservations.
    """

    service: ClassVar[str] = "product"

    max_body_bytes: int = Field(default=MAX_BATCH_BYTES, ge=1_024)
    store: StoreSettings = StoreSettings()
    read_cache_seconds: float = Field(default=0.5, ge=0, le=1)
    stock_count_seconds: float = Field(default=300.0, ge=0.1)
