"""Sign-in, sign-up, and a customer's orders, addresses and messages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from shop.kit.errors import Problem
from shop.kit.sessions import Session
from shop.storefront.catalogue_pages import CursorText
from shop.storefront.confirmation import Confirmation, require_confirmation
from shop.storefront.forms import (
    MAX_TYPED_PASSWORD_CHARACTERS,
    SHOWN_IN_FORM,
    AddressForm,
    SignInForm,
    SignUpForm,
    default_country,
    parse_form,
)
from shop.storefront.order_pages import with_refunds_of_all
from shop.storefront.service import Storefront
from shop.storefront.web import CurrentVisitor, PostedForm, Shop, SignedIn, local_path, page, redirect, with_query

router = APIRouter(include_in_schema=False)

Back = Annotated[str, Query(alias="next", max_length=1000)]

REMOVE_ADDRESS = Confirmation(
    "Remove this address?",
    "It will be removed from your account. Existing orders are not affected.",
    "Remove address",
    "/account/addresses",
)

TOO_MANY_ATTEMPTS = "Too many attempts. Please wait a few minutes before trying again."


@router.get("/sign-in")
async def sign_in_form(
    request: Request, shop: Shop, visitor: CurrentVisitor, back: Back = "/", again: bool = False
) -> Response:
    """The form. A visitor with a session goes back with a valid access token, except to sign in `again`: services
    with pages of their own send visitors here for both."""
    if not again and await shop.valid_session(visitor):
        return redirect(request, local_path(back))
    return await _credentials(request, "sign_in.html", back, {})


@router.post("/sign-in")
async def sign_in(request: Request, shop: Shop, visitor: CurrentVisitor, form: PostedForm) -> Response:
    checked, errors = parse_form(SignInForm, form)
    if checked is None:
        return await _credentials(request, "sign_in.html", form.get("next", "/"), form, errors=errors, status=422)
    try:
        await shop.sign_in(visitor, checked.email, checked.password)
    except Problem as problem:
        message = TOO_MANY_ATTEMPTS if problem.status == 429 else "The email address or password is incorrect."
        return await _credentials(
            request, "sign_in.html", form.get("next", "/"), form, problem=message, status=problem.status
        )
    return redirect(request, local_path(form.get("next", "/")), "Welcome back.")


@router.get("/sign-up")
async def sign_up_form(request: Request, visitor: CurrentVisitor, back: Back = "/") -> Response:
    if visitor.session:
        return redirect(request, local_path(back))
    return await _credentials(request, "sign_up.html", back, {})


@router.post("/sign-up")
async def sign_up(request: Request, shop: Shop, visitor: CurrentVisitor, form: PostedForm) -> Response:
    back = form.get("next", "/")
    checked, errors = parse_form(SignUpForm, form)
    if checked is None:
        return await _credentials(request, "sign_up.html", back, form, errors=errors, status=422)
    try:
        await shop.backends.users.register(checked.name, checked.email, checked.password)
        await shop.sign_in(visitor, checked.email, checked.password)
    except Problem as problem:
        errors = {field["field"]: field["message"] for field in problem.errors}
        message = "" if errors else problem.detail
        return await _credentials(
            request, "sign_up.html", back, form, errors=errors, problem=message, status=problem.status
        )
    return redirect(request, local_path(back), f"Welcome, {visitor.session.name if visitor.session else checked.name}.")


async def _credentials(
    request: Request,
    template: str,
    back: str,
    values: Mapping[str, str],
    *,
    errors: Mapping[str, str] | None = None,
    problem: str = "",
    status: int = 200,
) -> Response:
    frame = {"next": local_path(back), "values": values, "errors": errors or {}, "problem": problem}
    return await page(request, template, status=status, **frame)


@router.post("/sign-out")
async def sign_out(request: Request, shop: Shop, visitor: CurrentVisitor, form: PostedForm) -> Response:
    await shop.sign_out(visitor)
    return redirect(request, "/", "You have signed out.")


@router.get("/account")
async def orders(request: Request, shop: Shop, session: SignedIn, cursor: CursorText = "") -> Response:
    found = await shop.backends.orders.list_own(session.access_token, cursor)
    next_url = with_query("/account", cursor=found.next_cursor) if found.next_cursor else None
    shown = await with_refunds_of_all(shop, session.access_token, found.items)
    return await _account(request, "orders", orders=shown, next_url=next_url)


@router.get("/account/attempts")
async def attempts(request: Request, shop: Shop, session: SignedIn, cursor: CursorText = "") -> Response:
    """Orders that failed: declined, sold out or cancelled before confirmation."""
    found = await shop.backends.orders.list_own(session.access_token, cursor, rejected=True)
    next_url = with_query("/account/attempts", cursor=found.next_cursor) if found.next_cursor else None
    return await _account(request, "attempts", orders=found.items, next_url=next_url)


@router.get("/account/addresses")
async def addresses(request: Request, shop: Shop, session: SignedIn) -> Response:
    blank = {"name": session.name, "country": default_country(shop.settings.store)}
    return await _addresses(request, shop, session, blank)


@router.post("/account/addresses/fields")
async def address_fields(request: Request, shop: Shop, session: SignedIn, form: PostedForm) -> Response:
    """The form with the fields of the selected country, from which htmx takes them."""
    return await _addresses(request, shop, session, form)


@router.post("/account/addresses")
async def add_address(request: Request, shop: Shop, session: SignedIn, form: PostedForm) -> Response:
    checked, errors = parse_form(AddressForm, form)
    if checked is None:
        return await _addresses(request, shop, session, form, errors, status=422)
    try:
        await shop.backends.users.add_address(session.access_token, checked.address())
    except Problem as problem:
        if problem.status not in SHOWN_IN_FORM:
            raise
        errors = {wrong["field"]: wrong["message"] for wrong in problem.errors}
        return await _addresses(request, shop, session, form, errors, "" if errors else problem.detail, problem.status)
    return redirect(request, "/account/addresses", "Address saved.")


async def _addresses(
    request: Request,
    shop: Storefront,
    session: Session,
    values: Mapping[str, str],
    errors: Mapping[str, str] | None = None,
    problem: str = "",
    status: int = 200,
) -> Response:
    frame = {"values": values, "errors": errors or {}, "problem": problem}
    found = await shop.backends.users.addresses(session.access_token)
    return await _account(request, "addresses", status=status, addresses=found, **frame)


@router.post("/account/addresses/{address_id}/delete")
async def delete_address(
    request: Request, address_id: UUID, shop: Shop, session: SignedIn, form: PostedForm
) -> Response:
    if confirmation := await require_confirmation(request, form, REMOVE_ADDRESS):
        return confirmation
    await shop.backends.users.delete_address(session.access_token, address_id)
    return redirect(request, "/account/addresses", "Address removed.")


@router.get("/account/delete")
async def delete_account_form(request: Request, session: SignedIn) -> Response:
    return await page(request, "delete_account.html", errors={}, problem="")


@router.post("/account/delete")
async def delete_account(
    request: Request, shop: Shop, visitor: CurrentVisitor, session: SignedIn, form: PostedForm
) -> Response:
    """Delete the account, which the password confirms, and sign out."""
    password = form.get("password", "")
    try:
        if not password or len(password) > MAX_TYPED_PASSWORD_CHARACTERS:
            raise Problem(403, "wrong_password", "")
        await shop.delete_account(visitor, session.access_token, password)
    except Problem as problem:
        if problem.status not in {403, 409, 429}:
            raise
        errors = {"password": "The password is incorrect."} if problem.status == 403 else {}
        message = TOO_MANY_ATTEMPTS if problem.status == 429 else "" if errors else problem.detail
        frame = {"errors": errors, "problem": message}
        return await page(request, "delete_account.html", status=problem.status, **frame)
    return redirect(request, "/", "Your account was deleted.")


@router.get("/account/messages")
async def messages(request: Request, shop: Shop, session: SignedIn, cursor: CursorText = "") -> Response:
    found = await shop.backends.messages.list_own(session.access_token, cursor)
    next_url = with_query("/account/messages", cursor=found.next_cursor) if found.next_cursor else None
    return await _account(request, "messages", messages=found.items, next_url=next_url)


async def _account(request: Request, tab: str, *, status: int = 200, **values: Any) -> Response:
    return await page(request, "account.html", status=status, tab=tab, **values)
