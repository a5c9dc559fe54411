"""Settings of the storefront, from SHOP_* variables."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field, field_validator

from shop.contracts.store import StoreSettings
from shop.kit.settings import ServiceSettings

SIMULATOR = "simulator"


class Settings(ServiceSettings):
    """URLs of the other services, and the key that signs cookies.

    `session_secret` must be the same in every replica; if it is empty the key is derived from `internal_token`.
    """

    service: ClassVar[str] = "storefront"

    jwks_url: str = ""
    store: StoreSettings = StoreSettings()
    product_url: str = "http://product:8000"
    pricing_url: str = "http://pricing:8000"
    order_url: str = "http://order:8000"
    payment_url: str = "http://payment:8000"
    user_url: str = "http://user:8000"
    notification_url: str = "http://notification:8000"
    recommendation_url: str = "http://recommendation:8000"
    recommendation_grpc_url: str = ""
    """Empty in a shop without recommendations: no page asks for any."""
    recommendation_timeout_s: float = Field(default=0.15, gt=0, le=5)
    """The longest that a page waits for them."""
    restaurant_url: str = ""
    delivery_url: str = ""
    """Both are empty in a shop that sells no food: it has no page or link of it."""
    player_url: str = ""
    leaderboard_url: str = ""
    achievement_url: str = ""
    """All three are empty in a shop without the arcade: it has no page or link of it."""
    ops: bool = False
    """Whether the shop has a control room, to which administrators' pages link; nothing is asked of it."""
    arcade_timeout_s: float = Field(default=0.8, gt=0, le=5)
    """The longest that a page waits for a part of the arcade that it can do without."""
    valkey_url: str = Field(default="redis://valkey:6379/0", repr=False)
    session_secret: str = Field(default="", repr=False)
    mailbox_path: str = "/mailbox"
    payment_provider: str = SIMULATOR

    @field_validator("payment_provider")
    @classmethod
    def _takes_test_cards_only(cls, provider: str) -> str:
        if provider != SIMULATOR:
            raise ValueError(f"SHOP_PAYMENT_PROVIDER is {provider}, but the storefront takes test cards only")
        return provider
