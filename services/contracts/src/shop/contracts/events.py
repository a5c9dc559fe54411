"""The events that services publish, one class per type and version.

A field is never removed, renamed or narrowed: a breaking change is a new class with the next version, published
beside the old one until no service consumes it. tests/contracts holds the golden schemas that enforce this. Every type
here has a consumer; one that loses its last consumer is removed.
Money is an integer amount of minor units with an ISO 4217 code; times are UTC.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, ClassVar, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from shop.contracts.money import Address, Money


class OrderLine(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    product_id: UUID
    quantity: int
    name: str
    category: str
    unit_price: Money
    line_total: Money


class Event(BaseModel):
    """The data of one CloudEvent; readers ignore fields that they do not know."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    TYPE: ClassVar[str]

    def subject_id(self) -> str:
        """The id of the entity that the event is about; events of one entity keep their order."""
        raise NotImplementedError


class OrderEvent(Event):
    order_id: UUID
    user_id: UUID
    email: str
    customer_name: str
    kind: Literal["retail", "food"]
    occurred_at: datetime
    phone: str | None = None
    """E.164; the number that a food order's customer gave for text messages."""

    def subject_id(self) -> str:
        return str(self.order_id)


class OrderPending(OrderEvent):
    """The order was taken but a participant is unavailable; it is confirmed or rejected later."""

    TYPE = "order.pending.v1"

    reason: str


class OrderConfirmed(OrderEvent):
    TYPE = "order.confirmed.v1"

    lines: list[OrderLine]
    subtotal: Money
    discount: Money
    tax: Money
    shipping: Money
    total: Money
    address: Address
    tip: Money | None = None
    restaurant_id: UUID | None = None
    restaurant_name: str | None = None
    eta: datetime | None = None


class OrderRejected(OrderEvent):
    TYPE = "order.rejected.v1"

    reason: str
    late: bool


class OrderCancelled(OrderEvent):
    """``reason`` is a code: cancelled (by the customer or an administrator), cancelled_by_restaurant, no_courier,
    food_not_offered (the shop's food was turned off)."""

    TYPE = "order.cancelled.v1"

    refunded: Money
    reason: str | None = None


class OrderFulfilled(OrderEvent):
    TYPE = "order.fulfilled.v1"


class OrderDelivered(OrderEvent):
    TYPE = "order.delivered.v1"


class TicketState(StrEnum):
    """A ticket's state in the kitchen. Legal: waiting -> accepted | rejected | cancelled; accepted -> preparing |
    cancelled; preparing -> ready | cancelled; ready -> picked_up | cancelled."""

    WAITING = "waiting"
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    PREPARING = "preparing"
    READY = "ready"
    PICKED_UP = "picked_up"
    CANCELLED = "cancelled"


class TicketChanged(Event):
    """The kitchen's ticket of a food order has a new state. ``version`` grows by one with each; ``reason`` is a code.

    A ticket that is cancelled with the reason ``withdrawn`` or ``released`` follows an order that ends already. Any
    other cancellation is the restaurant's own and ends the order.
    """

    TYPE = "restaurant.ticket_changed.v1"

    order_id: UUID
    user_id: UUID
    restaurant_id: UUID
    restaurant_name: str
    state: TicketState
    version: int
    reason: str | None = None
    ready_at: datetime | None = None
    occurred_at: datetime

    def subject_id(self) -> str:
        return str(self.order_id)


class DeliveryState(StrEnum):
    """A delivery's state. Legal: waiting (no courier yet) <-> assigned; assigned -> at_restaurant -> picked_up ->
    on_the_way -> delivered; at_restaurant -> waiting (the courier dropped out); waiting -> failed; each of them but the
    last two -> cancelled. One that is picked up is cancelled only if its order was cancelled at the same moment."""

    WAITING = "waiting"
    ASSIGNED = "assigned"
    AT_RESTAURANT = "at_restaurant"
    PICKED_UP = "picked_up"
    ON_THE_WAY = "on_the_way"
    DELIVERED = "delivered"
    FAILED = "failed"
    CANCELLED = "cancelled"


class DeliveryChanged(Event):
    """A paid food order's delivery has a new state or courier. ``version`` grows by one with each.

    ``failed``: no courier was found in time; the order is cancelled and refunded. ``courier_name`` is what the customer
    sees, null while nobody is assigned.
    """

    TYPE = "delivery.changed.v1"

    order_id: UUID
    user_id: UUID
    restaurant_id: UUID
    restaurant_name: str
    state: DeliveryState
    version: int
    reason: str | None = None
    courier_name: str | None = None
    vehicle: str | None = None
    eta: datetime | None = None
    occurred_at: datetime

    def subject_id(self) -> str:
        return str(self.order_id)

    @property
    def begins_to_wait(self) -> bool:
        """Whether it is a delivery's first event, and says no more than that there is no courier yet."""
        return self.version == 1 and self.state == DeliveryState.WAITING


class PaymentRefunded(Event):
    TYPE = "payment.refunded.v1"

    payment_id: UUID
    order_id: UUID
    user_id: UUID
    amount: Money
    occurred_at: datetime

    def subject_id(self) -> str:
        return str(self.order_id)


class UserRegistered(Event):
    TYPE = "user.registered.v1"

    user_id: UUID
    email: str
    name: str
    occurred_at: datetime

    def subject_id(self) -> str:
        return str(self.user_id)


class UserDeleted(Event):
    """The account is gone; readers remove what they know about the user. It has no name and no address."""

    TYPE = "user.deleted.v1"

    user_id: UUID
    occurred_at: datetime

    def subject_id(self) -> str:
        return str(self.user_id)


class PlayerEvent(Event):
    """A player is a user of the same id."""

    player_id: UUID
    occurred_at: datetime

    def subject_id(self) -> str:
        return str(self.player_id)


class PlayerChanged(PlayerEvent):
    """A player exists, or the profile has changed. ``version`` grows by one with each.

    ``private``: only the player sees the profile, and no board lists the player. ``mail_to`` is the address for mails
    about achievements and rewards, null where none are wanted.
    """

    TYPE = "player.changed.v1"

    name: str
    private: bool
    mail_to: str | None = None
    version: int


Score = Annotated[int, Field(ge=0, le=2**63 - 1)]


class PlayerScored(PlayerEvent):
    """A round was played and its score computed, or a game server posted a score.

    ``result_id`` is the round's own id. ``source`` is what boards and rules name: a game of the shop (``stack``) or the
    source of a board that game servers post to. ``statistics`` are counts of the round by name, such as ``placed``;
    ``occurred_at`` is when the round ended: it decides the season.
    """

    TYPE = "player.scored.v1"

    result_id: UUID
    source: str
    score: Score
    duration_ms: int | None = None
    statistics: dict[str, int] = Field(default={})


class PlayerGained(PlayerEvent):
    """Experience points were added to the player's ledger, once for ``cause`` (such as ``order:<id>``), or taken back.

    ``xp`` is the gain, ``total_xp``, ``level`` and ``streak_days`` are the player's after it; ``version`` grows by one
    with each entry of the player's ledger.
    """

    TYPE = "player.gained.v1"

    cause: str
    xp: int
    total_xp: int
    level: int
    streak_days: int
    version: int


class PlayerLevelReached(PlayerEvent):
    """A level was reached for the first time. ``coupon`` is the code of its reward: ``percent`` off one order of this
    player until ``expires_at``."""

    TYPE = "player.level_reached.v1"

    level: int
    name: str
    coupon: str | None = None
    percent: int | None = None
    expires_at: datetime | None = None
    mail_to: str | None = None


class AchievementUnlocked(PlayerEvent):
    """Once per player and code; ``xp`` is its reward. ``mail_to`` is null where no mail is wanted."""

    TYPE = "achievement.unlocked.v1"

    code: str
    name: str
    description: str
    xp: int
    mail_to: str | None = None


EVENTS: dict[str, type[Event]] = {
    event.TYPE: event
    for event in (
        OrderPending,
        OrderConfirmed,
        OrderRejected,
        OrderCancelled,
        OrderFulfilled,
        OrderDelivered,
        TicketChanged,
        DeliveryChanged,
        PaymentRefunded,
        UserRegistered,
        UserDeleted,
        PlayerChanged,
        PlayerScored,
        PlayerGained,
        PlayerLevelReached,
        AchievementUnlocked,
    )
}
"""Every published type by its name."""
