"""What the control room asks the services: an order with its saga, its payments, and the messages about it."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from shop.contracts.money import Money
from shop.contracts.order_history import History
from shop.kit.http import Clients
from shop.ops.settings import Settings

MAX_MESSAGES = 100


class View(BaseModel):
    """A part of an answer; members that are not shown are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class OrderLine(View):
    name: str | None = None
    quantity: int


class Order(View):
    id: UUID
    user_id: UUID
    kind: str
    state: str
    reason: str | None = None
    lines: list[OrderLine] = []
    total: Money | None = None
    created_at: datetime


class Payment(View):
    id: UUID
    state: str
    amount: Money
    refunded: Money
    decline_code: str | None = None
    created_at: datetime
    updated_at: datetime


class Message(View):
    channel: str
    template: str
    state: str
    attempts: int = 0
    error: str | None = None
    created_at: datetime
    sent_at: datetime | None = None


class Items[T](View):
    items: list[T]


class Backends:
    """Each asks with an administrator's access token; a 4xx is raised as Problem, an absent service as Unavailable."""

    def __init__(self, clients: Clients, settings: Settings) -> None:
        self._order = clients.get("order", settings.order_url)
        self._payment = clients.get("payment", settings.payment_url)
        self._notification = clients.get("notification", settings.notification_url)

    async def orders(self, token: str, limit: int, state: str = "") -> list[Order]:
        """The newest ones in this state, or whatever became of them."""
        params = {"limit": limit, **({"state": state} if state else {})}
        answer = await self._order.get("/api/v1/orders/all", params=params, token=token)
        return Items[Order].model_validate(answer.json).items

    async def order(self, token: str, order_id: UUID) -> Order:
        return Order.model_validate((await self._order.get(f"/api/v1/orders/{order_id}", token=token)).json)

    async def history(self, token: str, order_id: UUID) -> History:
        answer = await self._order.get(f"/api/v1/orders/{order_id}/history", token=token)
        return History.model_validate(answer.json)

    async def retry(self, token: str, order_id: UUID) -> None:
        """Let the order's saga be tried at once; Problem 409 ``not_waiting`` when it does not wait."""
        await self._order.post(f"/api/v1/orders/{order_id}/retry", token=token)

    async def payments(self, token: str, order_id: UUID) -> list[Payment]:
        answer = await self._payment.get("/api/v1/payments", params={"order_id": str(order_id)}, token=token)
        return Items[Payment].model_validate(answer.json).items

    async def messages(self, token: str, order_id: UUID) -> list[Message]:
        """The messages about the order, the newest MAX_MESSAGES."""
        params = {"order_id": str(order_id), "limit": MAX_MESSAGES}
        answer = await self._notification.get("/api/v1/notifications/all", params=params, token=token)
        return Items[Message].model_validate(answer.json).items
