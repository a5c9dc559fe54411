"""HTTP: parse, call the service, answer."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import Depends, Header, Query, Response

from shop.contracts.money import Money
from shop.kit import telemetry
from shop.kit.app import service_of
from shop.kit.auth import CurrentAdmin, CurrentUser, internal_only
from shop.kit.pages import Page
from shop.kit.routing import router as make_router
from shop.payment import errors, schemas
from shop.payment.service import PaymentService

Service = Annotated[PaymentService, Depends(service_of)]
IdempotencyKey = Annotated[str | None, Header(min_length=1, max_length=schemas.MAX_KEY_LENGTH)]

CURRENCY = r"^[A-Z]{3}$"
OrderIds = Annotated[list[UUID], Query(min_length=1, max_length=schemas.MAX_ORDERS, description="May be repeated")]

router = make_router(prefix="/api/v1/payments", tags=["payments"])
internal = make_router(prefix="/internal/charges", tags=["internal"], dependencies=[Depends(internal_only)])


@router.get("")
async def list_payments(order_id: OrderIds, person: CurrentUser, service: Service) -> Page[schemas.PaymentView]:
    """The payments of orders: one each, and none of an order that is not the caller's own."""
    return Page(items=[schemas.PaymentView.of(payment) for payment in await service.payments_of(order_id, person)])


@router.get("/ledger")
async def get_ledger(_: CurrentAdmin, service: Service) -> schemas.Ledger:
    """What lies in each account of the ledger, for administrators."""
    return schemas.Ledger(
        items=[
            schemas.AccountBalance.model_validate(
                {"account": account, "balance": Money(amount=balance, currency=currency)}
            )
            for account, currency, balance in await service.balances()
        ]
    )


@router.get("/{payment_id}")
async def get_payment(payment_id: UUID, person: CurrentUser, service: Service) -> schemas.PaymentView:
    return schemas.PaymentView.of(await service.payment(payment_id, person))


@router.post("/{payment_id}/refunds", status_code=201, responses={202: {"model": schemas.RefundView}})
async def refund_payment(
    payment_id: UUID,
    admin: CurrentAdmin,
    service: Service,
    response: Response,
    refund: schemas.RefundBody,
    idempotency_key: IdempotencyKey = None,
) -> schemas.RefundView:
    """Give a payment back, wholly or in part. 202 when the provider has not answered yet: it is asked again."""
    if idempotency_key is None:
        raise errors.idempotency_key_missing()
    made, payment = await service.refund(refund.request(payment_id, idempotency_key))
    if made.state == "pending":
        response.status_code = 202
    return schemas.RefundView.of(made, payment)


@internal.post("", response_model_exclude_none=True)
async def charge(batch: schemas.ChargeBatch, service: Service) -> schemas.ChargeResults:
    """Charge orders; idempotent by order id."""
    trace = telemetry.traceparent()
    answers = await service.charge([item.request(trace) for item in batch.items])
    results = [schemas.ChargeResult.of(item.order_id, a) for item, a in zip(batch.items, answers, strict=True)]
    return schemas.ChargeResults(results=results)


@internal.get("/minimum")
async def minimum(currency: Annotated[str, Query(pattern=CURRENCY)], service: Service) -> Money:
    """The smallest amount that can be charged, so that an order below it need not be begun."""
    return Money(amount=service.minimum(currency), currency=currency)


@internal.post("/state")
async def states(batch: schemas.StateBatch, service: Service) -> schemas.StateResults:
    """The state of each order's payment; an order that was never charged has none."""
    found = await service.states([item.order_id for item in batch.items])
    return schemas.StateResults(
        results=[schemas.StateResult(order_id=item.order_id, state=found.get(item.order_id)) for item in batch.items]
    )


@internal.post("/void")
async def void(batch: schemas.VoidBatch, service: Service) -> schemas.VoidResults:
    """End the charges of orders and give back what was taken; an order not charged yet cannot be charged after."""
    statuses = await service.void([item.request() for item in batch.items])
    results = [
        schemas.VoidResult(order_id=item.order_id, status=s) for item, s in zip(batch.items, statuses, strict=True)
    ]
    return schemas.VoidResults(results=results)
