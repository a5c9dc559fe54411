"""What pricing asks about a cart of food: its price at the restaurant, and how far the way to the customer is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from pydantic import ValidationError

from shop.contracts.calls import BatchCall, OrderItem, OrderResult
from shop.contracts.delivery import ROUTE, DeliveryRejected, Routed, RouteRequest
from shop.contracts.restaurant import PRICE, FoodLine, FoodRejected, FoodRequest, Priced, PricedFood
from shop.kit.errors import Unavailable
from shop.kit.http import Response, ServiceClient
from shop.kit.ids import new_id
from shop.pricing import errors
from shop.pricing.domain import Food, Line, Quote
from shop.pricing.schemas import FoodQuoteRequest, quote_document

CALL_TIMEOUT_S = 1.5


@dataclass(frozen=True, slots=True)
class FoodCart:
    """A cart as its restaurant prices it, and the way to the customer. Items that are the same are one line."""

    priced: Priced
    way: Routed
    lines: Sequence[Line]

    @classmethod
    def of(cls, priced: Priced, way: Routed) -> FoodCart:
        quantities: dict[Any, int] = {}
        for food in priced.lines:
            quantities[food.product_id] = quantities.get(food.product_id, 0) + food.quantity
        about = {food.product_id: food for food in priced.lines}
        lines = [
            Line(product_id, quantity, about[product_id].unit_price.amount, about[product_id].category)
            for product_id, quantity in quantities.items()
        ]
        return cls(priced, way, lines)

    @property
    def currencies(self) -> set[str]:
        """Of everything that the restaurant names a price for."""
        return {self.priced.minimum_order.currency, *(food.unit_price.currency for food in self.priced.lines)}

    def terms(self, tip: int) -> Food:
        return Food(self.way.distance_m, self.priced.minimum_order.amount, tip)

    def document(self, quote: Quote, currency: str) -> dict[str, Any]:
        """QuoteView's members."""
        about: dict[Any, PricedFood] = {food.product_id: food for food in self.priced.lines}
        document = quote_document(quote, currency)
        for line in document["lines"]:
            food = about[line["product_id"]]
            line |= {"item_id": food.item_id, "name": food.name, "choices": food.choices}
        return document | {
            "tip": {"amount": quote.tip or 0, "currency": currency},
            "distance_m": self.way.distance_m,
            "ready_at": self.priced.ready_at,
            "eta": self.priced.ready_at + timedelta(seconds=self.way.travel_s),
            "minimum_order": self.priced.minimum_order.model_dump(),
            "restaurant_name": self.priced.restaurant_name,
        }


class FoodCarts:
    """Asks restaurant and delivery, one after the other: only the restaurant knows where the way begins."""

    def __init__(self, restaurants: ServiceClient, deliveries: ServiceClient) -> None:
        self._restaurants = restaurants
        self._deliveries = deliveries

    async def read(self, request: FoodQuoteRequest) -> FoodCart:
        """Problem with the code by which restaurant or delivery refuses the cart."""
        lines = [FoodLine(item_id=item.item_id, quantity=item.quantity, choices=item.choices) for item in request.items]
        wanted = FoodRequest(order_id=new_id(), restaurant_id=request.restaurant_id, lines=lines)
        priced = await _ask(self._restaurants, PRICE, wanted)
        if isinstance(priced, FoodRejected):
            raise errors.refused_by_participant(priced.code, priced.detail, priced.extra)
        way = await _ask(
            self._deliveries,
            ROUTE,
            RouteRequest(order_id=wanted.order_id, pickup=priced.position, address=request.address.address()),
        )
        if isinstance(way, DeliveryRejected):
            raise errors.refused_by_participant(way.code, way.detail, way.extra)
        return FoodCart.of(priced, way)


async def _ask[Item: OrderItem, Result: OrderResult](
    client: ServiceClient, call: BatchCall[Item, Result], item: Item
) -> Result:
    """The result for one item; Unavailable when the answer is not what the contract says."""
    body = {"items": [item.model_dump(mode="json")]}
    answer: Response = await client.post(call.path, json=body, internal=True, timeout_s=CALL_TIMEOUT_S)
    try:
        (result,) = answer.json["results"]
        return call.result.validate_python(result)
    except (ValidationError, ValueError, KeyError, TypeError) as error:
        raise Unavailable(client.name, f"{call.path}: an answer breaks the contract") from error
