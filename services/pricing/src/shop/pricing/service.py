"""The use cases of pricing: quotes for a cart, quotes that redeem an order's coupon, and promotions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast
from uuid import UUID

from shop.contracts.pricing import Quoted, QuoteRejected, QuoteRequest
from shop.contracts.product import PRICES, PricedProduct, ProductQuery
from shop.kit.app import Context
from shop.kit.clock import Clock
from shop.kit.http import ServiceClient
from shop.kit.text import code
from shop.pricing import domain, errors
from shop.pricing.domain import Discount, Food, Line, Promotion, Refusal
from shop.pricing.food import FoodCarts
from shop.pricing.metrics import QUOTES
from shop.pricing.repository import PricingRepository, Redemption, StoredPromotion
from shop.pricing.schemas import MAX_LINES, FoodQuoteRequest, QuoteItem, quote_document, quoted
from shop.pricing.settings import Settings

SAMPLE_PROMOTIONS = (
    Promotion("WELCOME10", Discount("percentage", 10), minimum_subtotal=2_000),
    Promotion("FIVER", Discount("fixed", 500)),
)


class PricingService:
    """Prices come from the product service, or from the reservation that it made; never from the customer."""

    def __init__(
        self,
        settings: Settings,
        repository: PricingRepository,
        products: ServiceClient,
        food: FoodCarts | None,
        clock: Clock,
    ) -> None:
        self._food = food
        self.arcade = settings.arcade
        self.currency = settings.store.currency
        self._country = settings.store.country
        self._tariff = settings.tariff()
        self._served = settings.store.served
        self._repository = repository
        self._products = products
        self.clock = clock

    @classmethod
    async def build(cls, context: Context) -> PricingService:
        settings = cast(Settings, context.settings)
        repository = PricingRepository(context.database)
        if settings.sample_promotions:
            for promotion in SAMPLE_PROMOTIONS:
                await repository.seed(promotion, context.clock.now())
        food = None
        if settings.restaurant_url and settings.delivery_url:
            food = FoodCarts(
                context.clients.get("restaurant", settings.restaurant_url),
                context.clients.get("delivery", settings.delivery_url),
            )
        return cls(settings, repository, context.clients.get("product", settings.product_url), food, context.clock)

    async def quote(
        self, items: Sequence[QuoteItem], country: str, coupon: str | None, user_id: UUID | None = None
    ) -> dict[str, Any]:
        """The quote for a cart, of this user if known. Problem 404 ``unknown_product``, 422 ``country_not_served`` or
        the coupon's code; redeems nothing."""
        if country not in self._served:
            raise errors.refused("country_not_served")
        lines = await self._priced(items)
        discount = await self._discount(coupon, domain.subtotal_of(lines), user_id) if coupon else None
        return quote_document(domain.quote(lines, country, discount, self._tariff), self.currency)

    async def quote_food(self, request: FoodQuoteRequest, user_id: UUID | None = None) -> dict[str, Any]:
        """The quote for a cart of food. Problem with the code by which restaurant, delivery or pricing refuses it.

        Food is taxed as in the store's country, where the town is, whatever country an address names.
        """
        if self._food is None:
            raise errors.food_not_offered()
        if request.address.country not in self._served:
            raise errors.refused("country_not_served")
        if request.tip is not None and request.tip.currency != self.currency:
            raise errors.refused("currency_mismatch")
        cart = await self._food.read(request)
        if cart.currencies != {self.currency}:
            raise errors.refused("currency_mismatch")
        terms, subtotal = cart.terms(request.tip.amount if request.tip else 0), domain.subtotal_of(cart.lines)
        if (refusal := domain.food_refusal(subtotal, terms, self._tariff.delivery)) is not None:
            raise errors.refused(refusal, **self._missing(refusal, subtotal, terms))
        discount = await self._discount(request.coupon, subtotal, user_id) if request.coupon else None
        quote = domain.quote(cart.lines, self._country, discount, self._tariff, terms)
        return cart.document(quote, self.currency)

    def _missing(self, refusal: Refusal, subtotal: int, food: Food) -> dict[str, Any]:
        """What the problem says about a minimum that is not met."""
        if refusal != "minimum_order_not_met":
            return {}
        amounts = {
            "minimum_order": food.minimum_order,
            "subtotal": subtotal,
            "missing": food.minimum_order - subtotal,
        }
        return {name: {"amount": amount, "currency": self.currency} for name, amount in amounts.items()}

    async def _priced(self, items: Sequence[QuoteItem]) -> list[Line]:
        wanted = list(dict.fromkeys(str(item.product_id) for item in items))
        query = ProductQuery(ids=",".join(wanted), limit=MAX_LINES)
        answer = await self._products.get(PRICES.path, params=query.model_dump())
        found = {product.id: product for product in PRICES.result.validate_python(answer.json).items}
        return [self._line(item, found.get(item.product_id)) for item in items]

    def _line(self, item: QuoteItem, product: PricedProduct | None) -> Line:
        if product is None:
            raise errors.unknown_product(item.product_id)
        if product.price.currency != self.currency:
            raise errors.refused("currency_mismatch")
        return Line(item.product_id, item.quantity, product.price.amount, product.category)

    async def _discount(self, coupon: str, subtotal: int, user_id: UUID | None) -> Discount:
        checked = await self._repository.check_coupon(coupon, subtotal, self.clock.now(), user_id)
        if checked is None:
            raise errors.refused("unknown_coupon")
        if checked.refusal is not None:
            minimum = {"amount": checked.minimum_subtotal, "currency": self.currency}
            raise errors.refused(checked.refusal, minimum_subtotal=minimum)
        return checked.discount

    async def quote_orders(self, items: Sequence[QuoteRequest]) -> list[Quoted | QuoteRejected]:
        """One result per order. Coupons are redeemed together; a batch without any needs no database."""
        lines = [
            [Line(line.product_id, line.quantity, line.unit_price.amount, line.category) for line in item.lines]
            for item in items
        ]
        redeeming = {
            at: Redemption(item.order_id, item.user_id, coupon, domain.subtotal_of(lines[at]))
            for at, item in enumerate(items)
            if (coupon := code(item.coupon or "")) and self._unpriceable(item, lines[at]) is None
        }
        verdicts: dict[int, Discount | Refusal] = {}
        if redeeming:
            answers = await self._repository.redeem(list(redeeming.values()), self.clock.now())
            verdicts = dict(zip(redeeming, answers, strict=True))
        results = [self._result(item, lines[at], verdicts.get(at)) for at, item in enumerate(items)]
        for item, result in zip(items, results, strict=True):
            QUOTES.labels("food" if item.food else "retail", result.status).inc()
        return results

    def _unpriceable(self, item: QuoteRequest, lines: Sequence[Line]) -> Refusal | None:
        """Why an order cannot be priced whatever its coupon is."""
        prices = [line.unit_price for line in item.lines]
        prices += [item.food.minimum_order, item.food.tip] if item.food else []
        if any(price.currency != self.currency for price in prices):
            return "currency_mismatch"
        if item.country not in self._served:
            return "country_not_served"
        food = _terms(item)
        return None if food is None else domain.food_refusal(domain.subtotal_of(lines), food, self._tariff.delivery)

    def _result(
        self, item: QuoteRequest, lines: Sequence[Line], verdict: Discount | Refusal | None
    ) -> Quoted | QuoteRejected:
        verdict, food = self._unpriceable(item, lines) or verdict, _terms(item)
        if isinstance(verdict, str):
            extra = {} if food is None else self._missing(verdict, domain.subtotal_of(lines), food)
            return QuoteRejected(order_id=item.order_id, code=verdict, detail=domain.REFUSALS[verdict], extra=extra)
        country = item.country if food is None else self._country
        quote = domain.quote(lines, country, verdict, self._tariff, food)
        return quoted(item.order_id, quote, self.currency)

    async def release(self, order_ids: Sequence[UUID]) -> None:
        """Release what the orders redeemed; they cannot redeem afterwards."""
        await self._repository.release(order_ids, self.clock.now())

    async def promotions(self, after: str, limit: int) -> list[StoredPromotion]:
        return await self._repository.promotions(after, limit)

    async def promotion(self, code: str) -> StoredPromotion:
        """The promotion, or Problem 404 ``unknown_promotion``."""
        promotion = await self._repository.promotion(code)
        if promotion is None:
            raise errors.unknown_promotion(code)
        return promotion

    async def put_promotion(self, promotion: Promotion, *, create: bool) -> StoredPromotion:
        """Create or replace; with ``create`` a code that is taken is Problem 412 ``promotion_exists``."""
        stored = await self._repository.put(promotion, self.clock.now(), create=create)
        if stored is None:
            raise errors.promotion_exists(promotion.code)
        return stored


def _terms(item: QuoteRequest) -> Food | None:
    """What the price of an order of food depends on; None for a retail one."""
    if item.food is None:
        return None
    return Food(item.food.distance_m, item.food.minimum_order.amount, item.food.tip.amount)
