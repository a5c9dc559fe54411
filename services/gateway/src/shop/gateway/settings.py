from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated, Any, ClassVar

from pydantic import Field, field_validator
from pydantic_settings import NoDecode

from shop.gateway.services import ServiceUrls

Network = IPv4Network | IPv6Network


class Settings(ServiceUrls):
    service: ClassVar[str] = "gateway"

    rate_limit_per_second: float = Field(default=100.0, ge=0)
    """Requests of one client in the long run; 0 switches limiting off."""
    rate_limit_burst: int = Field(default=200, ge=1)
    sign_in_rate_limit_per_second: float = Field(default=5.0, ge=0)
    """The same for POST /users and POST /tokens, which cost 20 ms of a core each and are what attackers call."""
    sign_in_rate_limit_burst: int = Field(default=20, ge=1)
    trusted_proxies: Annotated[tuple[Network, ...], NoDecode] = ()
    """Networks, separated by commas, whose X-Forwarded-* headers are believed."""
    cors_origins: Annotated[tuple[str, ...], NoDecode] = ()
    """Origins, separated by commas, whose pages may call the API; none by default."""
    connect_timeout_s: float = Field(default=1.0, gt=0)
    connect_window_s: float = Field(default=2.0, ge=0)
    """How long a request waits for some instance to take a connection: one that restarts, or a new pod that not
    every node knows yet, does so within a second or two."""
    total_timeout_s: float = Field(default=10.0, gt=0)
    stream_idle_timeout_s: float = Field(default=60.0, gt=0)
    """How long a server-sent event stream may be silent; the services send a comment more often."""
    latency_target_s: float = Field(default=0.3, ge=0)
    """The median time to a service's answer above which it is sent fewer requests at once, and others are
    refused; 0 switches this off."""
    breaker_failures: int = Field(default=5, ge=1)
    breaker_reset_seconds: float = Field(default=5.0, gt=0)
    openapi_ttl_s: float = Field(default=30.0, ge=0)

    @field_validator("trusted_proxies", mode="before")
    @classmethod
    def _networks(cls, value: Any) -> Any:
        return tuple(ip_network(part, strict=False) for part in _parts(value))

    @field_validator("cors_origins", mode="before")
    @classmethod
    def _origins(cls, value: Any) -> Any:
        return tuple(part.rstrip("/") for part in _parts(value))

    def urls(self, noun: str) -> list[str]:
        """The base URLs of the instances of ``noun``, without a slash at the end."""
        return [part.rstrip("/") for part in _parts(getattr(self, f"{noun}_url"))]


def _parts(value: Any) -> list[str]:
    parts = value.split(",") if isinstance(value, str) else value
    return [str(part).strip() for part in parts if str(part).strip()]
