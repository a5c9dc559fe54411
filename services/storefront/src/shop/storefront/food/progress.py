"""How far a food order is: its steps with their times, headline, and what may be done with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import itemgetter

from shop.storefront.food.schemas import Delivery
from shop.storefront.food.texts import REASONS
from shop.storefront.labels import reason_text
from shop.storefront.schemas import Order

PLACED, ACCEPTED, PREPARING, READY, ON_THE_WAY, DELIVERED = range(6)
TITLES = ("Order placed", "Accepted and paid", "Being prepared", "Ready", "On the way", "Delivered")

REACHED = {
    "accepted": ACCEPTED,
    "confirmed": ACCEPTED,
    "preparing": PREPARING,
    "ready": READY,
    "picked_up": ON_THE_WAY,
    "on_the_way": ON_THE_WAY,
    "fulfilled": ON_THE_WAY,
    "delivered": DELIVERED,
}
"""The step of each state of the order, the kitchen's ticket and the delivery; others do not change it."""

LABELS = {
    "waiting": "Looking for a courier",
    "assigned": "A courier was found",
    "accepted": "Accepted by the restaurant",
    "preparing": "The kitchen began",
    "ready": "Ready in the kitchen",
    "at_restaurant": "The courier is at the restaurant",
    "picked_up": "The courier has the food",
    "on_the_way": "On the way to you",
    "delivered": "Delivered",
    "failed": "No courier was found",
    "cancelled": "Cancelled",
}
"""What the history says of each state of the delivery."""

KITCHEN_LABELS = {
    "waiting": "The restaurant was asked",
    "rejected": "The restaurant could not accept it",
}
"""The same for states of the kitchen's ticket; others are in LABELS."""

HEADLINES = {
    PLACED: ("Order received", "The restaurant is being asked. You are charged only when it accepts."),
    ACCEPTED: ("Your order is accepted", "The kitchen will begin soon."),
    PREPARING: ("Your food is being prepared", ""),
    READY: ("Your food is ready", "The courier picks it up at the restaurant."),
    ON_THE_WAY: ("Your food is on the way", ""),
    DELIVERED: ("Delivered", "Enjoy your meal!"),
}
COURIER_TEXTS = {
    "assigned": "{name} is on the way to the restaurant.",
    "at_restaurant": "{name} is at the restaurant.",
    "picked_up": "{name} has your food.",
    "on_the_way": "{name} is on the way to you.",
    "delivered": "{name} delivered your food.",
}
NOT_BEGUN = frozenset({None, "waiting", "accepted"})
"""States of the kitchen in which a customer may cancel."""


@dataclass(frozen=True)
class FoodStep:
    title: str
    look: str
    at: datetime | None = None


@dataclass(frozen=True)
class Progress:
    order: Order
    delivery: Delivery | None

    @property
    def kitchen(self) -> str | None:
        """The state of the ticket, as far as it is known."""
        known = self.order.restaurant.state if self.order.restaurant else None
        return self.delivery.kitchen or known if self.delivery else known

    @property
    def delivery_state(self) -> str | None:
        if self.delivery:
            return self.delivery.state
        return self.order.delivery.state if self.order.delivery else None

    @property
    def here(self) -> int:
        """The furthest step that was reached."""
        if self.order.state == "pending":
            return PLACED
        states = (self.order.state, self.kitchen or "", self.delivery_state or "")
        return max(REACHED.get(state, PLACED) for state in states)

    @property
    def ended_early(self) -> bool:
        return self.order.state in {"rejected", "cancelled"} or self.order.refund == "full"

    @property
    def headline(self) -> tuple[str, str]:
        """Headline and sentence."""
        if self.order.state == "rejected" and not self.order.cancelled_while_pending:
            return "Order not completed", food_reason(self.order.reason)
        if self.order.state in {"rejected", "cancelled"}:
            text = "You were not charged." if self.order.state == "rejected" else "Your payment is refunded in full."
            return "Order cancelled", food_reason(self.order.reason, text)
        if self.order.refund == "full":
            return "Refunded", "Your payment was refunded in full."
        if self.order.cancel_requested_at and self.here < ON_THE_WAY:
            return "Cancellation in progress", "Any payment will be refunded."
        if self.order.state == "pending" and self.kitchen == "waiting":
            return "Waiting for the restaurant", HEADLINES[PLACED][1]
        return HEADLINES[self.here]

    @property
    def courier_text(self) -> str:
        """Where the courier is, in words; "" before there is a delivery and after the end."""
        if self.ended_early or self.delivery is None or self.here == DELIVERED:
            return ""
        courier = self.delivery.courier
        if courier is None:
            return "We are looking for a courier." if self.delivery.state == "waiting" else ""
        text = COURIER_TEXTS.get(self.delivery.state, "")
        return text.format(name=courier.name)

    @property
    def steps(self) -> Sequence[FoodStep]:
        """The steps past and to come; an order that ended early ends at that step."""
        here = self.here
        if self.ended_early:
            done = [FoodStep(title, "done", self._at(number)) for number, title in enumerate(TITLES[: here + 1])]
            return [*done, FoodStep("Cancelled", "stopped", self.order.updated_at)]
        looks = ["done" if number < here else "now" if number == here else "ahead" for number in range(len(TITLES))]
        if here == DELIVERED:
            looks[DELIVERED] = "done"
        return [
            FoodStep(title, look, self._at(number) if look != "ahead" else None)
            for number, (title, look) in enumerate(zip(TITLES, looks, strict=True))
        ]

    def _at(self, number: int) -> datetime | None:
        """When the step was reached, as far as it is known."""
        if number == PLACED:
            return self.order.created_at
        if self.delivery is None:
            return None
        changes = [*self.delivery.kitchen_history, *self.delivery.history]
        reached = [change.at for change in changes if REACHED.get(change.state) == number]
        if number == ACCEPTED:  # paid when there is a delivery, which is after the restaurant accepted
            return max([*reached, *(change.at for change in self.delivery.history[:1])], default=None)
        return min(reached, default=None)

    @property
    def history(self) -> Sequence[tuple[str, datetime]]:
        """Every change that is known, of the kitchen and of the delivery, in words and in the order of time."""
        if self.delivery is None:
            return []
        history, states = self.delivery.history, {change.state for change in self.delivery.history}
        kitchen = [
            (KITCHEN_LABELS.get(change.state) or _label(change.state), change.at)
            for change in self.delivery.kitchen_history
            if change.state == "waiting" or change.state not in states
        ]
        return sorted([*kitchen, *((_label(change.state), change.at) for change in history)], key=itemgetter(1))

    @property
    def cancellable(self) -> bool:
        return self.order.cancellable and self.kitchen in NOT_BEGUN and self.here <= ACCEPTED

    @property
    def eta(self) -> datetime | None:
        """When the food arrives; None when it has, or will not."""
        if self.ended_early or self.here == DELIVERED:
            return None
        if self.delivery:
            return self.delivery.eta
        return self.order.delivery.eta if self.order.delivery else None

    @property
    def live(self) -> bool:
        """Whether the order can still change."""
        return self.order.open and not (self.order.state == "confirmed" and self.order.refund == "full")


def _label(state: str) -> str:
    return LABELS.get(state, state.replace("_", " "))


def food_reason(reason: str | None, otherwise: str = "") -> str:
    """A sentence for the reason of an order's end."""
    if not reason or reason == "cancelled":
        return otherwise
    return REASONS.get(reason) or reason_text(reason)
