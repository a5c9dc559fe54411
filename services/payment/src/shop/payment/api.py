"""HTTP: parse, call the service, answer."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import Depends, Query, Response

from shop.contracts.calls import Batch, Results
from shop.contracts.money import Money
from shop.contracts.payment import (
    CHARGE,
    MINIMUM,
    STATE,
    VOID,
    ChargeResult,
    MinimumQuery,
    StateRequest,
    StateResult,
    VoidResult,
)
from shop.contracts.payment import ChargeRequest as ChargeItem
from shop.contracts.payment import VoidRequest as VoidItem
from shop.kit import telemetry
from shop.kit.app import service_of
from shop.kit.auth import CurrentAdmin, CurrentUser, internal_only
from shop.kit.idempotency import RequiredKey
from shop.kit.lean import lean
from shop.kit.pages import Page
from shop.kit.routing import router as make_router
from shop.payment import schemas
from shop.payment.refunds import VoidRequest
from shop.payment.service import PaymentService

Service = Annotated[PaymentService, Depends(service_of)]

OrderIds = Annotated[list[UUID], Query(min_length=1, max_length=schemas.MAX_ORDERS, description="May be repeated")]

router = make_router(prefix="/api/v1/payments", tags=["payments"])
internal = make_router(tags=["internal"], dependencies=[Depends(internal_only)])
ChargeResults = Results[ChargeResult]


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
    key: RequiredKey,
) -> schemas.RefundView:
    """Refund a payment, in full or in part. 202 when the provider has not answered yet: the request is repeated."""
    made, payment = await service.refund(refund.request(payment_id, key))
    if made.state == "pending":
        response.status_code = 202
    return schemas.RefundView.of(made, payment)


@internal.post(CHARGE.path, response_model=ChargeResults)
@lean
async def charge(batch: Batch[ChargeItem], service: Service) -> Response:
    """Charge orders; idempotent by order id."""
    trace = telemetry.traceparent()
    answers = await service.charges.charge([schemas.charge_request(item, trace) for item in batch.items])
    results = [schemas.charge_result(item.order_id, a) for item, a in zip(batch.items, answers, strict=True)]
    content = ChargeResults(results=results).model_dump_json(exclude_none=True)
    return Response(content, media_type="application/json")


@internal.get(MINIMUM.path)
async def minimum(query: Annotated[MinimumQuery, Query()], service: Service) -> Money:
    """The smallest amount that can be charged, so that an order below it need not be begun."""
    return Money(amount=service.minimum(query.currency), currency=query.currency)


@internal.post(STATE.path)
async def states(batch: Batch[StateRequest], service: Service) -> Results[StateResult]:
    """The state of each order's payment; an order that was never charged has none."""
    found = await service.states([item.order_id for item in batch.items])
    return Results(
        results=[StateResult(order_id=item.order_id, state=found.get(item.order_id)) for item in batch.items]
    )


@internal.post(VOID.path)
async def void(batch: Batch[VoidItem], service: Service) -> Results[VoidResult]:
    """End the charges of orders and refund what was captured; an order not charged yet cannot be charged afterwards."""
    statuses = await service.refunds.void([VoidRequest(item.order_id, item.reason) for item in batch.items])
    results = [
        VoidResult(order_id=item.order_id, status=status) for item, status in zip(batch.items, statuses, strict=True)
    ]
    return Results(results=results)
