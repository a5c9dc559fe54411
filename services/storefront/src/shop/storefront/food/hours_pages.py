"""Opening hours, dates with other hours, and settings of the kitchen, for the restaurant's staff."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Request
from pydantic import AfterValidator, Field
from starlette.responses import Response

from shop.contracts.restaurant import MAX_ACCEPTANCE_S
from shop.kit.errors import Problem
from shop.kit.sessions import Session
from shop.kit.text import Typed
from shop.storefront.food.opening_hours import WEEKDAYS, day_texts, spans_text, today_in, typed_spans
from shop.storefront.food.schemas import DaySpan, OpeningHours, SpecialDate, Workplace
from shop.storefront.food.service import Food, FoodShop, food_of
from shop.storefront.forms import FormModel, parse_form
from shop.storefront.web import PostedForm, SignedIn, page, redirect

router = APIRouter(prefix="/kitchen/{restaurant_id}/hours", include_in_schema=False, dependencies=[Depends(food_of)])

CHANGED_MEANWHILE = (
    "The opening hours were changed meanwhile. Nothing was saved yet: please check your entries and save again."
)
SECONDS_PER_MINUTE = 60
NEVER_BY_DATE = "Enter a date from today on."


def _spans(text: str) -> str:
    typed_spans(text)
    return text


Times = Annotated[str, Typed(120, 0), AfterValidator(_spans)]


class WeekForm(FormModel):
    monday: Times = ""
    tuesday: Times = ""
    wednesday: Times = ""
    thursday: Times = ""
    friday: Times = ""
    saturday: Times = ""
    sunday: Times = ""

    def weekly(self) -> list[DaySpan]:
        texts: dict[str, str] = self.model_dump()
        return [DaySpan(day=day, **dict(span)) for day, text in texts.items() for span in typed_spans(text)]


class DateForm(FormModel):
    """Without times it is closed on that date."""

    special_date: date
    times: Times = ""


class KitchenForm(FormModel):
    capacity: Annotated[int, Field(ge=1, le=1_000)]
    preparation_min: Annotated[int, Field(ge=1, le=240)]
    deadline_min: Annotated[int, Field(ge=1, le=MAX_ACCEPTANCE_S // SECONDS_PER_MINUTE)]

    @classmethod
    def values(cls, workplace: Workplace) -> dict[str, str]:
        return {
            "capacity": str(workplace.kitchen_capacity),
            "preparation_min": str(_minutes(workplace.base_preparation_s)),
            "deadline_min": str(_minutes(workplace.acceptance_deadline_s)),
        }

    def change(self) -> dict[str, Any]:
        return {
            "kitchen_capacity": self.capacity,
            "preparation_s": self.preparation_min * SECONDS_PER_MINUTE,
            "acceptance_deadline_s": self.deadline_min * SECONDS_PER_MINUTE,
        }


def _minutes(seconds: int) -> int:
    """Rounded up."""
    return -(-seconds // SECONDS_PER_MINUTE)


@dataclass(frozen=True)
class OtherDate:
    """A date whose hours are not its weekday's."""

    day: date
    times: str


@router.get("")
async def hours(request: Request, restaurant_id: UUID, food: FoodShop, session: SignedIn) -> Response:
    return await _show(request, food, session, restaurant_id)


async def _show(
    request: Request,
    food: Food,
    session: Session,
    restaurant_id: UUID,
    typed: Mapping[str, str] | None = None,
    **values: Any,
) -> Response:
    """The three forms; `typed`, `errors` and `problem` are of the one that failed."""
    await food.kitchens.workplace(session.access_token, restaurant_id)
    workplace, version = await food.kitchens.versioned(session.access_token, restaurant_id)
    shown = {**day_texts(workplace.hours), **KitchenForm.values(workplace), **(typed or {})}
    return await page(
        request,
        "food/kitchen_hours.html",
        status=422 if values.get("errors") else 409 if values.get("problem") else 200,
        workplace=workplace,
        weekdays=WEEKDAYS,
        dates=other_dates(workplace, today_in(workplace.time_zone)),
        today=today_in(workplace.time_zone),
        values=shown,
        version=version,
        most_deadline_min=MAX_ACCEPTANCE_S // SECONDS_PER_MINUTE,
        **{"errors": {}, "problem": "", **values},
    )


def other_dates(workplace: Workplace, today: date) -> list[OtherDate]:
    """The dates to come with hours of their own, and those on which it is closed out of turn."""
    times = {one.date: spans_text(one.spans) for one in workplace.hours.special}
    times |= dict.fromkeys(workplace.closures, "")
    return [OtherDate(day, times[day]) for day in sorted(times) if day >= today]


@router.post("")
async def save_week(
    request: Request, restaurant_id: UUID, food: FoodShop, session: SignedIn, form: PostedForm
) -> Response:
    """Save the weekdays' hours; those of single dates are kept."""
    checked, errors = parse_form(WeekForm, form)
    if checked is None:
        return await _show(request, food, session, restaurant_id, form, errors=errors)
    workplace, version = await food.kitchens.versioned(session.access_token, restaurant_id)
    problem = CHANGED_MEANWHILE
    if form.get("version") == version:
        problem = await _put(food, session, workplace, checked.weekly(), workplace.hours.special, version)
    if problem:
        return await _show(request, food, session, restaurant_id, form, problem=problem)
    return redirect(request, f"/kitchen/{restaurant_id}/hours", "The opening hours are saved.")


async def _put(
    food: Food,
    session: Session,
    workplace: Workplace,
    weekly: Sequence[DaySpan],
    special: Sequence[SpecialDate],
    version: str,
) -> str:
    """Replace the hours; why that was refused, or "". Dates that are over are left out."""
    today = today_in(workplace.time_zone)
    kept = tuple(one for one in special if one.date >= today)
    document = OpeningHours(weekly=tuple(weekly), special=kept).model_dump(mode="json")
    try:
        await food.kitchens.put_hours(session.access_token, workplace.id, document, version)
    except Problem as problem:
        if problem.status not in {412, 422}:
            raise
        return CHANGED_MEANWHILE if problem.status == 412 else problem.detail
    return ""


@router.post("/dates")
async def save_date(
    request: Request, restaurant_id: UUID, food: FoodShop, session: SignedIn, form: PostedForm
) -> Response:
    """Other hours on one date, or closed on it."""
    checked, errors = parse_form(DateForm, form)
    workplace, version = await food.kitchens.versioned(session.access_token, restaurant_id)
    if checked and checked.special_date < today_in(workplace.time_zone):
        errors = {"special_date": NEVER_BY_DATE}
    if checked is None or errors:
        return await _show(request, food, session, restaurant_id, form, errors=errors)
    day, spans = checked.special_date, typed_spans(checked.times)
    others = tuple(one for one in workplace.hours.special if one.date != day)
    if not spans:
        await food.kitchens.close_on(session.access_token, restaurant_id, day)
        return redirect(request, f"/kitchen/{restaurant_id}/hours#dates")
    special = (*others, SpecialDate(date=day, spans=tuple(spans)))
    if problem := await _put(food, session, workplace, workplace.hours.weekly, special, version):
        return await _show(request, food, session, restaurant_id, form, problem=problem)
    if day in workplace.closures:
        await food.kitchens.reopen(session.access_token, restaurant_id, day)
    return redirect(request, f"/kitchen/{restaurant_id}/hours#dates")


@router.post("/dates/{day}/remove")
async def remove_date(
    request: Request, restaurant_id: UUID, day: date, food: FoodShop, session: SignedIn, form: PostedForm
) -> Response:
    """The date has its weekday's hours again."""
    workplace, version = await food.kitchens.versioned(session.access_token, restaurant_id)
    if day in workplace.closures:
        await food.kitchens.reopen(session.access_token, restaurant_id, day)
    others = tuple(one for one in workplace.hours.special if one.date != day)
    problem = ""
    if len(others) < len(workplace.hours.special):
        problem = await _put(food, session, workplace, workplace.hours.weekly, others, version)
    return redirect(request, f"/kitchen/{restaurant_id}/hours#dates", problem or None)


@router.post("/kitchen")
async def save_kitchen(
    request: Request, restaurant_id: UUID, food: FoodShop, session: SignedIn, form: PostedForm
) -> Response:
    """How many orders the kitchen takes at once, how long one takes, and how long one may wait to be accepted."""
    checked, errors = parse_form(KitchenForm, form)
    if checked is None:
        return await _show(request, food, session, restaurant_id, form, errors=errors)
    try:
        await food.kitchens.change(session.access_token, restaurant_id, checked.change())
    except Problem as problem:
        if problem.status != 422:
            raise
        return await _show(request, food, session, restaurant_id, form, problem=problem.detail)
    return redirect(request, f"/kitchen/{restaurant_id}/hours", "The kitchen's settings are saved.")
