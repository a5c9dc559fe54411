"""Settings of the payment service."""

from __future__ import annotations

from typing import ClassVar, Literal, Self

from pydantic import Field, model_validator

from shop.contracts.store import StoreSettings
from shop.kit.settings import ServiceSettings

STRIPE_API_BASE = "https://api.stripe.com"
MAX_BATCH_BYTES = 262_144
"""A batch of 256 charges with their traces; the gateway keeps customers' bodies far smaller."""


class Settings(ServiceSettings):
    """``payment_provider`` stripe needs ``stripe_api_key``; the simulator takes test tokens and no money."""

    service: ClassVar[str] = "payment"

    max_body_bytes: int = Field(default=MAX_BATCH_BYTES, ge=1_024)
    store: StoreSettings = StoreSettings()
    payment_provider: Literal["simulator", "stripe"] = "simulator"
    stripe_api_key: str = Field(default="", repr=False)
    stripe_api_base: str = STRIPE_API_BASE
    simulator_answer_delay_s: float = Field(default=0.0, ge=0, le=30)

    @model_validator(mode="after")
    def _key_for_stripe(self) -> Self:
        if self.payment_provider == "stripe" and not self.stripe_api_key:
            raise ValueError("SHOP_STRIPE_API_KEY is needed with SHOP_PAYMENT_PROVIDER=stripe")
        return self
