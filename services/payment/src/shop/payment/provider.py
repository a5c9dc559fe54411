"""What the payment service needs of a payment provider; implemented by the simulator and for Stripe.

Refusals, timeouts, outages and unreadable answers are outcomes, not exceptions. Only ``unknown`` may be requested
again, always under the same key, and the provider executes a key at most once.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol
from uuid import UUID

REFUSED = "payment_refused"
"""Code of a charge that the provider rejects as a wrong request: the card was not declined."""


@dataclass(frozen=True, slots=True)
class Charge:
    """An amount to capture, in minor units above zero; ``requested_at`` is when the key was first used."""

    key: str
    order_id: UUID
    amount: int
    currency: str
    token: str
    requested_at: datetime


@dataclass(frozen=True, slots=True)
class Repayment:
    """An amount to refund of the charge ``reference``; ``amount`` is in minor units, above zero."""

    key: str
    reference: str
    amount: int
    currency: str
    requested_at: datetime


@dataclass(frozen=True, slots=True)
class ChargeOutcome:
    """``reference`` names a capture at the provider; ``code`` says why it was declined or is not known."""

    key: str
    status: Literal["captured", "declined", "unknown"]
    reference: str | None = None
    code: str | None = None


@dataclass(frozen=True, slots=True)
class RepaymentOutcome:
    status: Literal["succeeded", "failed", "unknown"]
    reference: str | None = None
    code: str | None = None


class Provider(Protocol):
    name: str
    parallel_batches: int
    """How many batches of charges the provider accepts at a time."""

    def minimum(self, currency: str) -> int:
        """The smallest charge in minor units; 0 where there is none."""
        ...

    def charge_many(self, charges: Sequence[Charge]) -> AsyncIterator[Sequence[ChargeOutcome]]:
        """Make ``charges`` (keys distinct) and yield outcomes as they become known, so that a slow one delays
        none of the others. Each charge has one outcome in the end."""
        ...

    async def refund(self, repayment: Repayment) -> RepaymentOutcome: ...

    async def close(self) -> None: ...
