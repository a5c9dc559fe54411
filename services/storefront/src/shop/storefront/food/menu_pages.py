"""The menu as the restaurant's staff changes it: items with prices and allergens, and what is sold out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from shop.kit.errors import Problem
from shop.kit.sessions import Session
from shop.storefront.confirmation import Confirmation, require_confirmation
from shop.storefront.food.menu_forms import (
    ALLERGENS,
    CATEGORIES,
    ItemForm,
    form_values,
    price_of,
    with_item,
    without_item,
)
from shop.storefront.food.schemas import Menu, MenuItem
from shop.storefront.food.service import Food, FoodShop, food_of
from shop.storefront.forms import parse_form
from shop.storefront.web import PostedForm, Shop, SignedIn, page, redirect

router = APIRouter(prefix="/kitchen/{restaurant_id}/menu", include_in_schema=False, dependencies=[Depends(food_of)])

CHANGED_MEANWHILE = "The menu was changed meanwhile. Nothing was saved yet: please check your entries and save again."
NEW_ITEM = {"category": "food"}


@router.get("")
async def menu(request: Request, restaurant_id: UUID, food: FoodShop, session: SignedIn) -> Response:
    workplace = await food.kitchens.workplace(session.access_token, restaurant_id)
    found, _ = await food.kitchens.menu(session.access_token, restaurant_id)
    return await page(request, "food/kitchen_menu.html", workplace=workplace, menu=found)


@router.get("/new")
async def new_item(
    request: Request, restaurant_id: UUID, food: FoodShop, session: SignedIn, section: str = ""
) -> Response:
    return await _form(request, food, session, restaurant_id, None, {**NEW_ITEM, "section": section[:120]})


@router.get("/{item_id}")
async def edit_item(
    request: Request, restaurant_id: UUID, item_id: UUID, food: FoodShop, session: SignedIn
) -> Response:
    return await _form(request, food, session, restaurant_id, item_id)


async def _form(
    request: Request,
    food: Food,
    session: Session,
    restaurant_id: UUID,
    item_id: UUID | None,
    typed: Mapping[str, str] | None = None,
    **values: Any,
) -> Response:
    """The form of an item with its own values, or those that were typed, and the menu's present version."""
    token = session.access_token
    workplace = await food.kitchens.workplace(token, restaurant_id)
    found, version = await food.kitchens.menu(token, restaurant_id)
    item = _item(found, item_id) if item_id else None
    return await page(
        request,
        "food/kitchen_item.html",
        status=422 if values.get("errors") else 409 if values.get("problem") else 200,
        workplace=workplace,
        item=item,
        sections=[section.name for section in found.sections],
        values=typed if typed is not None else form_values(found, item) if item else NEW_ITEM,
        version=version,
        allergens=ALLERGENS,
        tax_categories=CATEGORIES,
        **{"errors": {}, "problem": "", **values},
    )


def _item(menu: Menu, item_id: UUID) -> MenuItem:
    """Problem 404 for an item that the menu does not have."""
    found = menu.item(item_id)
    if found is None:
        raise Problem(404, "unknown_item", "This item is no longer on the menu.")
    return found


@router.post("/new")
async def add_item(
    request: Request, restaurant_id: UUID, shop: Shop, food: FoodShop, session: SignedIn, form: PostedForm
) -> Response:
    return await _save(request, food, session, restaurant_id, None, form, shop.settings.store.currency)


@router.post("/{item_id}")
async def save_item(
    request: Request,
    restaurant_id: UUID,
    item_id: UUID,
    shop: Shop,
    food: FoodShop,
    session: SignedIn,
    form: PostedForm,
) -> Response:
    return await _save(request, food, session, restaurant_id, item_id, form, shop.settings.store.currency)


async def _save(
    request: Request,
    food: Food,
    session: Session,
    restaurant_id: UUID,
    item_id: UUID | None,
    form: Mapping[str, str],
    currency: str,
) -> Response:
    checked, errors = parse_form(ItemForm, form)
    price, wrong_price = price_of(form.get("price", ""), currency)
    if wrong_price and "price" not in errors:
        errors = {**errors, "price": wrong_price}
    if checked is None or errors:
        return await _form(request, food, session, restaurant_id, item_id, form, errors=errors)
    found, version = await food.kitchens.menu(session.access_token, restaurant_id)
    if item_id:
        _item(found, item_id)
    if form.get("version") != version:
        return await _form(request, food, session, restaurant_id, item_id, form, problem=CHANGED_MEANWHILE)
    body = with_item(found, item_id, checked, form, {"amount": price, "currency": currency})
    try:
        await food.kitchens.put_menu(session.access_token, restaurant_id, body, version)
    except Problem as problem:
        if problem.status not in {412, 422}:
            raise
        text = CHANGED_MEANWHILE if problem.status == 412 else _refusal(problem)
        return await _form(request, food, session, restaurant_id, item_id, form, problem=text)
    return redirect(request, f"/kitchen/{restaurant_id}/menu", f"“{checked.name}” is saved.")


def _refusal(problem: Problem) -> str:
    return " ".join(wrong["message"] for wrong in problem.errors) or problem.detail


@router.post("/{item_id}/remove")
async def remove_item(
    request: Request, restaurant_id: UUID, item_id: UUID, food: FoodShop, session: SignedIn, form: PostedForm
) -> Response:
    back = f"/kitchen/{restaurant_id}/menu"
    found, version = await food.kitchens.menu(session.access_token, restaurant_id)
    item = found.item(item_id)
    if item is None:
        return redirect(request, back, "This item is no longer on the menu.")
    explanation = f"“{item.name}” will be removed from the menu. Orders that were placed are not changed."
    confirmation = Confirmation("Remove from the menu?", explanation, "Remove", back)
    if asked := await require_confirmation(request, form, confirmation):
        return asked
    try:
        await food.kitchens.put_menu(session.access_token, restaurant_id, without_item(found, item_id), version)
    except Problem as problem:
        if problem.status != 412:
            raise
        return redirect(request, back, "The menu was changed meanwhile. Nothing was removed: please try again.")
    return redirect(request, back, f"“{item.name}” is removed.")


@router.post("/{item_id}/sold-out")
async def sold_out(
    request: Request, restaurant_id: UUID, item_id: UUID, food: FoodShop, session: SignedIn, form: PostedForm
) -> Response:
    """Say that an item is sold out (`sold_out` is 1), or that it is there again."""
    await food.kitchens.set_sold_out(session.access_token, restaurant_id, item_id, form.get("sold_out") == "1")
    return redirect(request, f"/kitchen/{restaurant_id}/menu#item-{item_id}")
