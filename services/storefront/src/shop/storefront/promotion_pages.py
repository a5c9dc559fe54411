"""Administrators' pages for promotions."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Path, Request
from starlette.responses import Response

from shop.kit.errors import Problem
from shop.storefront.admin_pages import admin_page
from shop.storefront.catalogue_pages import CursorText
from shop.storefront.forms import PromotionForm, parse_form
from shop.storefront.web import Admin, PostedForm, Shop, formats_of, redirect, with_query

router = APIRouter(prefix="/admin/promotions", include_in_schema=False)

Code = Annotated[str, Path(pattern=r"^[A-Za-z0-9_-]{3,32}$")]

FORM_FIELDS = {
    "code": "code",
    "value": "value",
    "minimum_subtotal": "minimum",
    "starts_at": "starts",
    "expires_at": "expires",
    "usage_limit": "usage_limit",
}
"""The form's field for each field of the pricing service."""


@router.get("")
async def promotions(request: Request, shop: Shop, admin: Admin, cursor: CursorText = "") -> Response:
    found = await shop.backends.prices.promotions(admin.access_token, cursor)
    next_url = with_query("/admin/promotions", cursor=found.next_cursor) if found.next_cursor else None
    now = datetime.now(UTC)
    return await admin_page(request, "promotions", promotions=found.items, next_url=next_url, now=now)


@router.get("/new")
async def new_promotion(request: Request, shop: Shop, admin: Admin) -> Response:
    return await _form(request, {"kind": "percentage", "active": "1"}, "")


@router.get("/{code}")
async def edit_promotion(request: Request, code: Code, shop: Shop, admin: Admin) -> Response:
    found = await shop.backends.prices.promotion(admin.access_token, code)
    store = shop.settings.store
    return await _form(request, PromotionForm.values(found, store.currency, formats_of(store)), found.code)


@router.post("")
async def save_promotion(request: Request, shop: Shop, admin: Admin, form: PostedForm) -> Response:
    """A form without `original` creates a promotion and never overwrites an existing one with the same code."""
    original = form.get("original", "")
    checked, errors = parse_form(PromotionForm, {**form, "code": original or form.get("code", "")})
    store = shop.settings.store
    rule, more = checked.rule(store.currency, formats_of(store)) if checked else ({}, {})
    if checked is None or errors or more:
        return await _form(request, form, original, errors={**errors, **more}, status=422)
    try:
        await shop.backends.prices.put_promotion(admin.access_token, checked.code, rule, create=not original)
    except Problem as problem:
        if problem.status not in {412, 422}:
            raise
        return await _refused(request, form, original, problem)
    return redirect(request, "/admin/promotions", f"Promotion {checked.code.upper()} saved.")


async def _refused(request: Request, form: Mapping[str, str], original: str, problem: Problem) -> Response:
    if problem.status == 412:
        errors = {"code": "A promotion with this code already exists. Choose another code or edit that promotion."}
        return await _form(request, form, original, errors=errors, status=409)
    named = {FORM_FIELDS.get(wrong["field"], ""): wrong["message"] for wrong in problem.errors}
    errors = {name: message for name, message in named.items() if name}
    return await _form(request, form, original, errors=errors, problem=named.get("", problem.detail), status=422)


async def _form(
    request: Request,
    values: Mapping[str, str],
    original: str,
    *,
    errors: Mapping[str, str] | None = None,
    problem: str = "",
    status: int = 200,
) -> Response:
    frame = {"values": values, "original": original, "errors": errors or {}, "problem": problem}
    return await admin_page(request, "promotion", status=status, **frame)
