"""The events that deliveries publish, as rows of the outbox."""

from __future__ import annotations

from shop.contracts.events import DeliveryChanged, DeliveryState
from shop.delivery.domain import Courier, Delivery
from shop.kit.events import OutboxRow, row


def changed(delivery: Delivery, courier: Courier | None) -> OutboxRow:
    return row(
        DeliveryChanged(
            order_id=delivery.order_id,
            user_id=delivery.user_id,
            restaurant_id=delivery.restaurant_id,
            restaurant_name=delivery.restaurant_name,
            state=DeliveryState(delivery.state),
            version=delivery.version,
            reason=delivery.reason,
            courier_name=courier.name if courier else None,
            vehicle=courier.vehicle if courier else None,
            eta=delivery.eta if delivery.state.live else None,
            occurred_at=delivery.updated_at,
        )
    )
