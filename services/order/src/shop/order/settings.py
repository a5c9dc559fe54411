"""Settings of the order service: the participants' addresses, and time limits."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from shop.contracts.store import StoreSettings
from shop.kit.settings import ServiceSettings


class Settings(ServiceSettings):
    """``inline_budget_s``: seconds after which POST answers 202 and recovery resumes the saga.

    ``saga_deadline_s``: age at which an order that could not be completed is undone. ``food_deadline_s``: the same for
    food, shorter because food is wanted soon, and longer than a restaurant has for accepting by hand
    (`restaurant.MAX_ACCEPTANCE_S`).
    ``retry_first_s``, ``retry_max_s``: pauses between attempts. ``inline_lease_s`` and ``recovery_lease_s``: how long
    a process that vanished keeps a saga from the others; each is longer than the time budget of the attempt that it
    covers.
    ``food_poll_s``: pause between looks for food orders whose events could not take effect at once.

    Without ``restaurant_url`` and ``delivery_url`` the shop has no food: 422 ``food_not_offered``.
    """

    service: ClassVar[str] = "order"

    store: StoreSettings = StoreSettings()
    product_url: str = "http://product:8000"
    pricing_url: str = "http://pricing:8000"
    payment_url: str = "http://payment:8000"
    restaurant_url: str = ""
    delivery_url: str = ""

    inline_budget_s: float = Field(default=2.5, gt=0, le=3.0)
    inline_lease_s: float = Field(default=6.0, gt=0)
    recovery_lease_s: float = Field(default=30.0, gt=0)
    recovery_poll_s: float = Field(default=10.0, gt=0)
    recovery_concurrency: int = Field(default=64, ge=1, le=256)
    retry_first_s: float = Field(default=1.0, gt=0)
    retry_max_s: float = Field(default=15.0, gt=0)
    saga_deadline_s: float = Field(default=900.0, gt=0)
    food_deadline_s: float = Field(default=600.0, gt=0)
    food_poll_s: float = Field(default=1.0, gt=0)
    stream_poll_s: float = Field(default=0.5, gt=0)
    stream_keepalive_s: float = Field(default=15.0, gt=0)
    max_streams: int = Field(default=1_000, ge=1)
