"""A small shop in real databases, with all the rows that an order leaves behind, for the audit to look at."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import nats

from shop.kit.ids import new_id
from shop.operator.audit.run import Target

TRACE = "ab" * 16
TRACEPARENT = f"00-{TRACE}-{'cd' * 8}-01"
TOTAL = 1190
CONSUMERS_OF_ORDERS = (
    "product",
    "notification",
    "recommendation",
    "restaurant",
    "player",
    "achievement",
    "leaderboard",
)
AT = datetime.now(UTC) - timedelta(minutes=10)


@dataclass
class Placed:
    """The ids of one order's rows."""

    order: UUID
    user: UUID
    payment: UUID = field(default_factory=new_id)
    charge: UUID = field(default_factory=new_id)
    events: dict[str, UUID] = field(default_factory=dict)


class ShopRecords:
    """Rows are written as a superuser, past triggers and foreign keys: an audit is for what should be impossible."""

    def __init__(self, connections: dict[str, asyncpg.Connection], target: Target) -> None:
        self.connections = connections
        self.target = target
        self.product = new_id()

    async def run(self, noun: str, sql: str, *arguments: Any) -> None:
        await self.connections[noun].execute(sql, *arguments)

    async def stock(self, received: int) -> None:
        """The one product, with `received` copies."""
        await self.run(
            "product",
            "INSERT INTO products (id, sku, name, sort_name, description, category, price, currency, stock, search,"
            " created_at, updated_at) VALUES ($1, 'BK-1', 'Emma', 'emma', '', 'novel', 1000, 'EUR', $2, '', $3, $3)",
            self.product,
            received,
            AT,
        )
        await self.run(
            "product",
            "INSERT INTO stock_movements (product_id, delta, reason, at) VALUES ($1, $2, 'catalogue', $3)",
            self.product,
            received,
            AT,
        )

    async def confirmed(self) -> Placed:
        """An order that was placed, charged, sold and announced by mail."""
        placed = await self._order("confirmed", ["confirmed"])
        await self._reserve(placed, "sold")
        await self._charge(placed)
        await self._tell(placed, "order.confirmed.v1", "order-confirmed")
        await self.learn(placed)
        return placed

    async def confirmed_food(self) -> Placed:
        """The same for an order of food, without what restaurant and delivery have of it."""
        placed = await self._order("confirmed", ["confirmed"])
        await self.run("order", "UPDATE orders SET kind = 'food' WHERE id = $1", placed.order)
        await self._charge(placed)
        await self._tell(placed, "order.confirmed.v1", "order-confirmed", kind_of_order="food")
        return placed

    async def cancelled(self) -> Placed:
        """An order that was sold, and then cancelled with its money and its stock given back."""
        placed = await self._order("cancelled", ["confirmed", "cancelled"])
        await self._reserve(placed, "released")
        await self._charge(placed)
        await self._refund(placed)
        await self._tell(placed, "order.confirmed.v1", "order-confirmed")
        await self._tell(placed, "order.cancelled.v1", "order-cancelled")
        await self.learn(placed, cancelled=True)
        return placed

    async def rejected(self, *, user: UUID | None = None, key: str | None = None) -> Placed:
        """An order that was refused and left nothing behind."""
        placed = await self._order("rejected", ["rejected"], user=user, key=key)
        await self._tell(placed, "order.rejected.v1", None)
        return placed

    async def pending(self, age: timedelta) -> Placed:
        """An order whose saga is running."""
        placed = Placed(new_id(), new_id())
        await self._insert_order(placed, "pending", 1, str(placed.order), datetime.now(UTC) - age)
        await self._saga(placed, "running")
        return placed

    async def remove(self, placed: Placed) -> None:
        """An order whose saga had not done anything."""
        for sql in ("DELETE FROM sagas WHERE order_id = $1", "DELETE FROM orders WHERE id = $1"):
            await self.run("order", sql, placed.order)

    async def _order(
        self, state: str, states: list[str], *, user: UUID | None = None, key: str | None = None
    ) -> Placed:
        placed = Placed(new_id(), user or new_id())
        await self._insert_order(placed, state, len(states) + 1, key or str(placed.order), AT)
        await self._saga(placed, "done")
        for version, (before, after) in enumerate(zip(["pending", *states], states, strict=False), 2):
            await self.run(
                "order",
                "INSERT INTO order_transitions VALUES ($1, $2, $3, $4, $5, $6)",
                placed.order,
                version,
                before,
                after,
                AT,
                TRACE,
            )
        return placed

    async def _insert_order(self, placed: Placed, state: str, version: int, key: str, at: datetime) -> None:
        lines = json.dumps([{"product_id": str(self.product), "quantity": 1}])
        await self.run(
            "order",
            "INSERT INTO orders (id, user_id, email, customer_name, kind, state, version, reason, lines, currency,"
            " subtotal, discount, tax, shipping, total, address, country, idempotency_key, body_hash, created_at,"
            " updated_at) VALUES ($1, $2, 'c@example.com', 'C', 'retail', $3, $4, $5, $6::jsonb, 'EUR', 1000, 0, 190,"
            " 0, $7, '{}', 'DE', $8, ''::bytea, $9, $9)",
            placed.order,
            placed.user,
            state,
            version,
            "payment_declined" if state == "rejected" else None,
            lines,
            TOTAL,
            key,
            at,
        )

    async def _saga(self, placed: Placed, status: str) -> None:
        await self.run(
            "order",
            "INSERT INTO sagas (order_id, kind, status, due_at, traceparent) VALUES ($1, 'place', $2, now(), $3)",
            placed.order,
            status,
            TRACEPARENT,
        )

    async def _reserve(self, placed: Placed, state: str) -> None:
        await self.run("product", "INSERT INTO reservations VALUES ($1, $2, $3, $3)", placed.order, state, AT)
        await self.run(
            "product",
            "INSERT INTO reservation_lines VALUES ($1, $2, 1, 'BK-1', 'Emma', 'novel', 1000, 'EUR')",
            placed.order,
            self.product,
        )
        if state == "sold":
            await self.run("product", "UPDATE products SET stock = stock - 1")

    async def _charge(self, placed: Placed) -> None:
        await self.run(
            "payment",
            "INSERT INTO payments (id, order_id, user_id, state, amount, currency, provider, traceparent,"
            " next_attempt_at, created_at, updated_at)"
            " VALUES ($1, $2, $3, 'captured', $4, 'EUR', 'simulator', $5, $6, $6, $6)",
            placed.payment,
            placed.order,
            placed.user,
            TOTAL,
            TRACEPARENT,
            AT,
        )
        await self.capture_at_provider(placed.order, str(placed.payment), placed.charge)
        await self._book(placed.payment, placed.payment, TOTAL)

    async def capture_at_provider(self, order: UUID, key: str, reference: UUID) -> None:
        await self.run(
            "payment",
            "INSERT INTO simulator.charges (key, reference, order_id, amount, currency, token, outcome, created_at)"
            " VALUES ($1, $2, $3, $4, 'EUR', 'tok_visa', 'captured', $5)",
            key,
            reference,
            order,
            TOTAL,
            AT,
        )

    async def refund_at_provider(self, charge: UUID) -> None:
        await self.run(
            "payment",
            "INSERT INTO simulator.refunds (key, reference, charge_reference, amount, created_at)"
            " VALUES ($1, $2, $3, $4, $5)",
            str(new_id()),
            new_id(),
            charge,
            TOTAL,
            AT,
        )

    async def _refund(self, placed: Placed) -> None:
        await self.run(
            "payment", "UPDATE payments SET state = 'refunded', refunded = amount WHERE id = $1", placed.payment
        )
        refund = new_id()
        await self.run(
            "payment",
            "INSERT INTO refunds (id, payment_id, amount, idempotency_key, state, reason, for_void, next_attempt_at,"
            " created_at, updated_at) VALUES ($1, $2, $3, 'void', 'succeeded', 'order_cancelled', true, $4, $4, $4)",
            refund,
            placed.payment,
            TOTAL,
            AT,
        )
        await self.refund_at_provider(placed.charge)
        await self.run("payment", "UPDATE simulator.charges SET refunded = amount WHERE reference = $1", placed.charge)
        await self._book(refund, placed.payment, -TOTAL)

    async def _book(self, transaction: UUID, payment: UUID, amount: int) -> None:
        for account, part in (("provider", amount), ("sales", -amount)):
            await self.entry(transaction, account, part, payment)

    async def entry(self, transaction: UUID, account: str, amount: int, payment: UUID) -> None:
        await self.run(
            "payment",
            "INSERT INTO entries VALUES ($1, $2, $3, 'EUR', $4, $5)",
            transaction,
            account,
            amount,
            payment,
            AT,
        )

    async def _tell(self, placed: Placed, kind: str, template: str | None, kind_of_order: str = "retail") -> None:
        event = placed.events[kind] = new_id()
        data = {**self._data(placed), "kind": kind_of_order}
        await self.outbox(event, kind, placed.order, await self.publish(event, kind, data))
        await self.consume(event, *CONSUMERS_OF_ORDERS)
        if template is not None:
            await self.notify(event, placed.order, placed.user, template)

    async def consume(self, event: UUID, *nouns: str) -> None:
        """The services' inboxes contain the event."""
        for noun in nouns:
            await self.run(noun, "INSERT INTO inbox (consumer, event_id, received_at) VALUES ('x', $1, $2)", event, AT)

    def _data(self, placed: Placed) -> dict[str, Any]:
        line = {"product_id": str(self.product), "quantity": 1}
        ids = {"order_id": str(placed.order), "user_id": str(placed.user)}
        return {**ids, "occurred_at": AT.isoformat(), "lines": [line]}

    async def learn(self, placed: Placed, *, cancelled: bool = False) -> None:
        """What recommendation keeps of a confirmed order, or of one that was cancelled later."""
        noun = "recommendation"
        await self.run(noun, "INSERT INTO customers (user_id) VALUES ($1) ON CONFLICT DO NOTHING", placed.user)
        await self.run(noun, "INSERT INTO products (product_id) VALUES ($1) ON CONFLICT DO NOTHING", self.product)
        await self.run(
            noun,
            "INSERT INTO orders (order_id, customer, cancelled_at)"
            " SELECT $1, number, $3 FROM customers WHERE user_id = $2",
            placed.order,
            placed.user,
            AT if cancelled else None,
        )
        await self.run(
            noun,
            "INSERT INTO purchases (order_number, product, customer, ordered_at)"
            " SELECT orders.number, products.number, orders.customer, $3 FROM orders, products"
            " WHERE order_id = $1 AND product_id = $2 AND cancelled_at IS NULL",
            placed.order,
            self.product,
            AT,
        )

    async def train(self, orders: int) -> None:
        """A model of that many orders, which is up to date."""
        await self.run("recommendation", "UPDATE revision SET value = value + 1, changed_at = $1", AT)
        await self.run(
            "recommendation",
            "INSERT INTO models (revision, trained_at, training_seconds, orders, content)"
            " SELECT value, $1, 0.1, $2, '' FROM revision",
            AT,
            orders,
        )

    async def publish(self, event: UUID, kind: str, data: Mapping[str, Any]) -> int:
        """Put the event into its stream; returns its sequence number there."""
        client = await nats.connect(self.target.nats_url)
        payload = json.dumps({"data": data}).encode()
        ack = await client.jetstream().publish(kind, payload, headers={"Nats-Msg-Id": str(event)})
        await client.close()
        return ack.seq

    async def outbox(
        self, event: UUID, kind: str, subject: UUID, sequence: int | None, data: Mapping[str, Any] | None = None
    ) -> None:
        """The event in its publisher's outbox, not yet published without a sequence number."""
        await self.run(
            kind.partition(".")[0],
            "INSERT INTO outbox (event_id, type, subject_id, payload, created_at, published_at, stream_sequence)"
            " VALUES ($1, $2, $3, $4, $5, $6, $7)",
            event,
            kind,
            str(subject),
            json.dumps({"traceparent": TRACEPARENT, "data": data or {}}),
            AT,
            None if sequence is None else AT,
            sequence,
        )

    async def notify(self, event: UUID, order: UUID, user: UUID, template: str) -> None:
        await self.run(
            "notification",
            "INSERT INTO notifications (id, event_id, channel, user_id, order_id, template, data, trace_id, state,"
            " next_attempt_at, created_at) VALUES ($1, $2, 'email', $3, $4, $5, '{}', $6, 'sent', $7, $7)",
            new_id(),
            event,
            user,
            order,
            template,
            TRACE,
            AT,
        )
