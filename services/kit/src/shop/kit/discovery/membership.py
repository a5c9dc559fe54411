"""Which instances are registered, by the renewals that were received. No input or output."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from shop.kit.balancing.instance import About

TTL_S = 30.0
"""Only of instances that end without leaving. Requests go past one that fails within milliseconds, by its breaker; each
renewal is received by all who follow the service, which is much of what an idle shop does."""
RENEW_S = TTL_S / 3
SETTLE_S = RENEW_S + 2.0
"""By then each instance that is there has renewed its registration."""
BASE_URL = r"https?://[A-Za-z0-9._\-\[\]:]{1,255}"
HOST_AND_PORT = r"[A-Za-z0-9._\-\[\]:]{0,255}"
SERVICE = "[a-z]{1,40}"
ID = "[a-z0-9][a-z0-9-]{0,62}"


class Registration(BaseModel):
    """What an instance says about itself; ``inflight`` is its load, in requests under way."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    service: Annotated[str, StringConstraints(pattern=f"^{SERVICE}$")]
    id: Annotated[str, StringConstraints(pattern=f"^{ID}$")]
    url: Annotated[str, StringConstraints(pattern=f"^{BASE_URL}$")]
    grpc: Annotated[str, StringConstraints(pattern=f"^{HOST_AND_PORT}$")] = ""
    version: Annotated[str, StringConstraints(max_length=64)] = ""
    zone: Annotated[str, StringConstraints(max_length=64)] = ""
    inflight: int = Field(default=0, ge=0)

    @property
    def key(self) -> str:
        return f"{self.service}.{self.id}"

    def about(self) -> About:
        return About(self.id, self.version, self.zone, self.grpc)


@dataclass(slots=True)
class _Renewed:
    registration: Registration
    at: float


class Membership:
    """Instances are gone ``ttl_s`` seconds after their last renewal, in time for which the registry was reachable.

    That time stands still while no renewal at all is received: then the registry is unreachable, and not all instances.
    So an outage of it removes none, and after it each has as much time left as before.
    """

    def __init__(self, now: float, ttl_s: float = TTL_S, renew_s: float = RENEW_S) -> None:
        self._ttl_s = ttl_s
        self._renew_s = renew_s
        self._last = now
        self.reachable_s = 0.0
        """For how long the registry was reachable, in all."""
        self._known: dict[str, _Renewed] = {}

    def renewed(self, registration: Registration, now: float) -> bool:
        """A registration was renewed; whether it says anything new, apart from the load."""
        self._advance(now)
        before = self._known.get(registration.key)
        self._known[registration.key] = _Renewed(registration, self.reachable_s)
        return before is None or _identity(before.registration) != _identity(registration)

    def left(self, key: str, now: float) -> bool:
        """An instance has left; whether it was known."""
        self._advance(now)
        return self._known.pop(key, None) is not None

    def expired(self) -> set[str]:
        """Forget the instances that were not renewed in time; the services that they belong to."""
        gone = [key for key, one in self._known.items() if self.reachable_s - one.at > self._ttl_s]
        return {self._known.pop(key).registration.service for key in gone}

    def knows(self, key: str) -> bool:
        return key in self._known

    def of(self, service: str) -> Mapping[str, Registration]:
        """The registrations of one service by their base URLs."""
        found = [one.registration for one in self._known.values() if one.registration.service == service]
        return {one.url.rstrip("/"): one for one in found}

    def count(self) -> int:
        return len(self._known)

    def services(self) -> set[str]:
        return {one.registration.service for one in self._known.values()}

    def _advance(self, now: float) -> None:
        self.reachable_s += min(now - self._last, self._renew_s)
        self._last = now


def _identity(registration: Registration) -> tuple[str, About]:
    return registration.url, registration.about()
