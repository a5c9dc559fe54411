"""Settings of delivery: those of every service and its own."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from shop.contracts.store import StoreSettings
from shop.kit.settings import ServiceSettings

MAX_BATCH_BYTES = 1024 * 1024
"""A batch of reservations; the gateway keeps customers' bodies far smaller."""


class Settings(ServiceSettings):
    """``restaurant_url`` is empty in a shop without the module.

    ``courier_reach_m``: the longest way by the streets to a restaurant that a courier is sent. ``fix_max_age_s``: a
    courier whose last fix is older gets no delivery; after ``courier_lost_after_s`` those that are not picked up go to
    others. ``courier_margin_s``: a courier gets an order so early that they are at the restaurant this long before the
    food is ready. ``regroup_s``: what a courier left behind at the end of a shift is not given to another one for so
    long, because several may leave together. ``waiting_deadline_s``: a paid delivery that had no courier for so long,
    counted from ``courier_margin_s`` before its food is ready, fails. ``sweep_s``: pause of the
    loop that checks these. ``flush_s``: positions are stored and published in batches of this time.
    ``staff_cache_s``: how old the answer may be who works at a restaurant.
    """

    service: ClassVar[str] = "delivery"

    max_body_bytes: int = Field(default=MAX_BATCH_BYTES, ge=1_024)
    store: StoreSettings = StoreSettings()
    restaurant_url: str = ""

    courier_reach_m: int = Field(default=5_000, ge=100, le=100_000)
    fix_max_age_s: float = Field(default=60.0, gt=0)
    courier_lost_after_s: float = Field(default=120.0, gt=0)
    courier_margin_s: float = Field(default=300.0, ge=0, le=3_600)
    regroup_s: float = Field(default=2.0, ge=0, le=60)
    waiting_deadline_s: float = Field(default=600.0, gt=0)
    sweep_s: float = Field(default=2.0, gt=0)
    flush_s: float = Field(default=0.25, gt=0, le=1)
    staff_cache_s: float = Field(default=5.0, ge=0, le=5)
    stream_poll_s: float = Field(default=0.5, gt=0)
    stream_keepalive_s: float = Field(default=15.0, gt=0)
    max_streams: int = Field(default=2_000, ge=1)
