"""A quote adds up, or neither pricing sends it nor order takes it."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from pydantic import ValidationError

from shop.contracts.pricing import QUOTE, Quoted, QuoteRejected
from shop.kit.ids import new_id

ONE, TWO, ORDER = (str(new_id()) for _ in range(3))


def eur(amount: int) -> dict[str, Any]:
    return {"amount": amount, "currency": "EUR"}


def line(product_id: str, quantity: int, unit_price: int) -> dict[str, Any]:
    prices = {"unit_price": eur(unit_price), "line_total": eur(unit_price * quantity)}
    return {"product_id": product_id, "quantity": quantity, **prices, "discount": eur(0), "tax": eur(0)}


RESULT = {
    "order_id": ORDER, "status": "quoted", "lines": [line(ONE, 2, 100), line(TWO, 1, 50)],
    "subtotal": eur(250), "discount": eur(25), "tax": eur(20), "shipping": eur(5), "total": eur(250),
}  # fmt: skip


def changed(path: list[Any], value: Any) -> dict[str, Any]:
    result: Any = copy.deepcopy(RESULT)
    part = result
    for step in path[:-1]:
        part = part[step]
    part[path[-1]] = value
    return result  # type: ignore[no-any-return]


def test_a_quote_that_adds_up_is_read() -> None:
    quote = QUOTE.result.validate_python(RESULT)
    assert isinstance(quote, Quoted)
    assert quote.total.amount == 250


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (["total"], eur(249)),
        (["total"], {"amount": 250, "currency": "USD"}),
        (["total"], {"amount": 250.0, "currency": "EUR"}),
        (["subtotal"], eur(251)),
        (["tax"], eur(-20)),
        (["lines", 0, "line_total"], eur(199)),
        (["lines", 0, "unit_price"], {"amount": 100, "currency": "USD"}),
        (["lines", 0, "quantity"], 1),
        (["lines"], RESULT["lines"][:1]),  # type: ignore[index]
        (["tax_included"], True),
        (["status"], "estimated"),
    ],
)
def test_a_quote_that_does_not_add_up_is_refused(path: list[Any], value: Any) -> None:
    with pytest.raises(ValidationError):
        QUOTE.result.validate_python(changed(path, value))


def test_tax_that_is_included_adds_nothing() -> None:
    quote = QUOTE.result.validate_python(changed(["total"], eur(230)) | {"tax_included": True})
    assert isinstance(quote, Quoted)
    assert (quote.tax.amount, quote.total.amount) == (20, 230)


def test_a_rejected_quote_has_no_amounts() -> None:
    result = {"order_id": ORDER, "status": "rejected", "code": "coupon_expired", "detail": "It has expired."}
    rejected = QUOTE.result.validate_python(result)
    assert isinstance(rejected, QuoteRejected)
    assert rejected.code == "coupon_expired"
