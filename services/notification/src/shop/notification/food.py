"""What a customer is told about the delivery of an order of food. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from shop.contracts.events import DeliveryChanged, DeliveryState, OrderConfirmed, OrderEvent
from shop.notification.domain import TEXTS, Notice

WITH_COURIER = frozenset({DeliveryState.ASSIGNED, DeliveryState.AT_RESTAURANT})
UNDER_WAY = frozenset({DeliveryState.PICKED_UP, DeliveryState.ON_THE_WAY})


@dataclass(frozen=True, slots=True)
class FoodOrder:
    """``version`` is the newest of the delivery's events that was taken; ``courier`` and ``on_the_way`` are what the
    customer was told. ``held`` is the newest event that came before the order was ``confirmed``: the first message is
    the confirmation, whichever event is faster. When the order is ``over`` nothing more is told."""

    order_id: UUID
    user_id: UUID
    email: str | None = None
    phone: str | None = None
    confirmed: bool = False
    over: bool = False
    version: int = 0
    courier: str | None = None
    on_the_way: bool = False
    held: Mapping[str, Any] | None = None

    def take(self, event: DeliveryChanged, texts: bool) -> tuple[FoodOrder, Sequence[Notice]]:
        """The messages about an event of the delivery; none about one that is older than another that was taken."""
        if self.over or event.version <= self.version:
            return self, ()
        after = replace(self, version=event.version)
        if event.state == DeliveryState.DELIVERED:
            return replace(after, over=True), self._notices("food-delivered", texts)
        if event.state in UNDER_WAY:
            told = () if self.on_the_way else self._notices("food-on-the-way", texts)
            return replace(after, on_the_way=True), told
        if event.state in WITH_COURIER and event.courier_name not in (None, self.courier) and not self.on_the_way:
            extra = {"replaced": self.courier is not None}
            return replace(after, courier=event.courier_name), self._notices("food-courier", texts, extra)
        return after, ()

    def hold(self, event: DeliveryChanged, event_id: UUID, trace_id: str) -> FoodOrder:
        """Keep an event until the order is confirmed; only the newest one."""
        if self.over or (self.held is not None and event.version <= self.held["data"]["version"]):
            return self
        data = event.model_dump(mode="json")
        return replace(self, held={"event_id": str(event_id), "trace_id": trace_id, "data": data})

    def learn(self, event: OrderEvent, texts: bool) -> tuple[FoodOrder, Sequence[Notice]]:
        """What an event of the order says of its customer. Its confirmation releases the event that was held."""
        over = self.over or not isinstance(event, OrderConfirmed)
        known = replace(self, email=event.email, phone=event.phone, confirmed=True, over=over, held=None)
        if self.held is None:
            return known, ()
        return known.take(DeliveryChanged.model_validate(self.held["data"]), texts)

    def _notices(self, template: str, texts: bool, extra: Mapping[str, Any] | None = None) -> Sequence[Notice]:
        mail = Notice("email", template, self.user_id, self.order_id, self.email, extra or {})
        if not (texts and self.phone):
            return (mail,)
        return mail, Notice("sms", TEXTS[template], self.user_id, self.order_id, self.phone, extra or {})
