"""Settings of restaurant: those of every service and its own."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from shop.contracts.store import StoreSettings
from shop.kit.settings import ServiceSettings

MAX_BODY_BYTES = 1024 * 1024
"""A batch of tickets, or a menu; the gateway keeps customers' bodies far smaller."""


class Settings(ServiceSettings):
    """``sample_restaurants``: whether the sample is loaded at the start; ``clock_poll_s``: how often tickets that are
    due are looked for; ``stream_poll_s``, ``stream_keepalive_s``, ``max_streams``: of the kitchens' event streams;
    ``staff_check_s``: how often it is checked during a stream that its reader is still on the staff."""

    service: ClassVar[str] = "restaurant"

    max_body_bytes: int = Field(default=MAX_BODY_BYTES, ge=1_024)
    store: StoreSettings = StoreSettings()
    sample_restaurants: bool = False
    clock_poll_s: float = Field(default=0.5, gt=0)
    stream_poll_s: float = Field(default=0.5, gt=0)
    stream_keepalive_s: float = Field(default=15.0, gt=0)
    staff_check_s: float = Field(default=10.0, gt=0)
    max_streams: int = Field(default=500, ge=1)
