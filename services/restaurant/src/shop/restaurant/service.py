"""The use cases of restaurants: finding them, their menus, and what their owners change."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any, cast
from uuid import UUID

from shop.contracts.geography import Position
from shop.contracts.restaurant import MAX_RESTAURANTS_OF_A_USER
from shop.kit.app import Context
from shop.kit.auth import Principal
from shop.kit.clock import Clock
from shop.kit.ids import new_id
from shop.kit.logging import decision
from shop.kit.pages import cut_page, decode_cursor, encode_cursor
from shop.kit.retention import Retention
from shop.kit.tasks import poll
from shop.restaurant import errors, retention_repository, sample
from shop.restaurant.domain import Restaurant
from shop.restaurant.hours import Closed
from shop.restaurant.kitchen import Kitchens
from shop.restaurant.repository import Near, RestaurantRepository
from shop.restaurant.schemas import HoursBody, MenuBody, NewRestaurant, RestaurantChange, checked_menu
from shop.restaurant.settings import Settings
from shop.restaurant.stream import KitchenStreams
from shop.restaurant.tickets import TicketRepository
from shop.restaurant.views import (
    MenuView,
    RestaurantDetail,
    RestaurantView,
    menu_view,
    restaurant_detail,
    restaurant_view,
)
from shop.town import town

log = logging.getLogger(__name__)

MAX_PAGES_READ = 20
"""Of the database, for one page of restaurants that are open."""
MAX_STAFF = 200
MAX_CLOSURES = 100
"""Dates on which a restaurant is closed; those that are over are removed."""


class RestaurantService:
    """``kitchens`` has the use cases of tickets, ``streams`` the event streams of kitchens."""

    def __init__(
        self, settings: Settings, repository: RestaurantRepository, tickets: TicketRepository, clock: Clock
    ) -> None:
        self._currency = settings.store.currency
        self._staff_check_s = settings.staff_check_s
        self._repository = repository
        self._tickets = tickets
        self._clock = clock
        self.kitchens = Kitchens(tickets, clock)
        self.streams = KitchenStreams(tickets, settings)

    @classmethod
    async def build(cls, context: Context) -> RestaurantService:
        """Also loads the sample, and starts the loops: tickets that are due, and the poller of watched kitchens."""
        settings = cast(Settings, context.settings)
        repository = RestaurantRepository(context.database)
        if settings.sample_restaurants:
            await sample.load(repository, settings.store, context.clock.now())
        service = cls(settings, repository, TicketRepository(context.database), context.clock)

        async def move_due() -> None:
            await poll(service.kitchens.move_due, settings.clock_poll_s)

        context.tasks.start("tickets-due", move_due)
        context.tasks.start("kitchen-streams", service.streams.run)
        rules = [retention_repository.rule(timedelta(days=settings.history_retention_days))]
        context.tasks.start("retention", Retention(context.database, context.clock, rules).run)
        return service

    async def close(self) -> None:
        await self.kitchens.close()

    async def page(
        self,
        *,
        query: str,
        cuisine: str | None,
        near: Near | None,
        open_now: bool,
        cursor: str | None,
        limit: int,
    ) -> tuple[list[RestaurantView], str | None]:
        """One page and the cursor of the next; Problem 400 ``invalid_cursor``.

        With ``open_now`` it may have fewer than ``limit`` although more follow: at most MAX_PAGES_READ pages are read.
        """
        now = self._clock.now()
        after = cast(tuple[float, str, UUID], decode_cursor(cursor, float, str, UUID)) if cursor else None
        found: list[tuple[Restaurant, float | None]] = []
        for _ in range(MAX_PAGES_READ):
            rows = await self._repository.page(query=query, cuisine=cuisine, near=near, after=after, limit=limit + 1)
            found += [row for row in rows if not open_now or row[0].kitchen.takes_orders(now)]
            if len(found) > limit or len(rows) <= limit:
                break
            after = _sort_key(rows[-1])
        else:
            return [restaurant_view(of, now, distance_m) for of, distance_m in found], encode_cursor(*(after or ()))
        shown, next_cursor = cut_page(found, limit, _sort_key)
        return [restaurant_view(of, now, distance_m) for of, distance_m in shown], next_cursor

    async def get(self, restaurant_id: UUID) -> Restaurant:
        """Problem 404 ``unknown_restaurant``."""
        found = await self._repository.get(restaurant_id)
        if found is None:
            raise errors.unknown_restaurant()
        return found

    def detail(self, of: Restaurant) -> RestaurantDetail:
        return restaurant_detail(of, self._clock.now())

    async def mine(self, person: Principal) -> list[RestaurantDetail]:
        """Where the user works."""
        return [self.detail(one) for one in await self._repository.of_user(person.user_id)]

    async def menu(self, restaurant_id: UUID, person: Principal | None) -> tuple[MenuView, int]:
        """The menu and its version. Problem 404 when an order is not possible now, except for the staff."""
        of = await self.get(restaurant_id)
        now = self._clock.now()
        if not of.kitchen.takes_orders(now) and not await self._is_staff(person, restaurant_id):
            available = of.kitchen.availability(now)
            raise (
                errors.restaurant_closed(available.opens_at)
                if isinstance(available, Closed)
                else errors.restaurant_paused()
            )
        document = await self._repository.menu(restaurant_id, of.menu_version)
        return menu_view(of, document, now), of.menu_version

    async def _is_staff(self, person: Principal | None, restaurant_id: UUID) -> bool:
        if person is None:
            return False
        return person.role == "admin" or await self._repository.works(person.user_id, restaurant_id)

    async def check_staff(self, person: Principal, restaurant_id: UUID) -> None:
        """Problem 403 ``staff_only`` for anybody else, administrators excepted."""
        if not await self._is_staff(person, restaurant_id):
            raise errors.staff_only()

    async def while_staff(
        self, person: Principal, restaurant_id: UUID, events: AsyncIterator[bytes]
    ) -> AsyncIterator[bytes]:
        """The events, keepalives included, until the person is no longer on the staff."""
        loop = asyncio.get_running_loop()
        checked_at = loop.time()
        async for chunk in events:
            if loop.time() - checked_at >= self._staff_check_s:
                if not await self._is_staff(person, restaurant_id):
                    return
                checked_at = loop.time()
            yield chunk

    async def create(self, new: NewRestaurant, admin: Principal) -> Restaurant:
        """Add a restaurant; Problem 422 for a foreign currency, an impossible menu, or an address without position."""
        minimum = new.minimum_order
        self._check_currencies(new.menu.currencies() | ({minimum.currency} if minimum else set()))
        fields = {
            **new.model_dump(mode="json", exclude={"position", "minimum_order", "menu"}),
            **self._position(new).model_dump(),
            "id": new_id(),
            "currency": self._currency,
            "minimum_order": minimum.amount if minimum else 0,
        }
        await self._repository.insert(fields, _menu_document(new.menu), self._clock.now(), admin.user_id)
        self._log(fields["id"], admin, "restaurant_created")
        return await self.get(fields["id"])

    def _position(self, new: NewRestaurant) -> Position:
        if new.position is not None:
            return new.position
        found = town().locate(new.address.street, new.address.city)
        if found is None:
            raise errors.address_not_found()
        return Position(lat=found.lat, lon=found.lon)

    async def change(self, restaurant_id: UUID, change: RestaurantChange, person: Principal) -> Restaurant:
        """Problem 422 for a foreign currency."""
        await self.check_staff(person, restaurant_id)
        fields = change.model_dump(exclude_none=True)
        if change.minimum_order is not None:
            self._check_currencies({change.minimum_order.currency})
            fields["minimum_order"] = change.minimum_order.amount
        changed = await self._tickets.change_settings(restaurant_id, fields, self._clock.now(), person.user_id)
        return self._changed(changed, person, "settings")

    async def put_hours(
        self, restaurant_id: UUID, hours: HoursBody, version: int | None, person: Principal
    ) -> Restaurant:
        """Replace the hours of ``version``; Problem 412 ``changed_meanwhile``."""
        await self.check_staff(person, restaurant_id)
        await self.get(restaurant_id)
        document = hours.model_dump(mode="json")
        changed = await self._repository.change_hours(
            restaurant_id, document, version, self._clock.now(), person.user_id
        )
        if changed is None:
            raise errors.changed_meanwhile()
        return self._changed(changed, person, "hours")

    async def close_on(
        self, restaurant_id: UUID, day: date | None, person: Principal, *, reopen: bool = False
    ) -> Restaurant:
        """Let no opening begin on the local date ``day`` (today), or let it again.

        Problem 409 ``too_many_closures``.
        """
        await self.check_staff(person, restaurant_id)
        of = await self.get(restaurant_id)
        now = self._clock.now()
        today = now.astimezone(of.kitchen.hours.zone).date()
        days = [day or today]
        if not reopen and len({one for one in of.closures if one >= today} | {*days}) > MAX_CLOSURES:
            raise errors.too_many_closures(MAX_CLOSURES)
        closed, opened = ([], days) if reopen else (days, [])
        changed = await self._repository.change_closures(restaurant_id, closed, opened, now, person.user_id)
        return self._changed(changed, person, "closures")

    async def put_menu(
        self, restaurant_id: UUID, menu: MenuBody, version: int | None, person: Principal
    ) -> tuple[MenuView, int]:
        """Replace the menu of ``version``; orders that were placed keep what they have. Problem 412, 422."""
        await self.check_staff(person, restaurant_id)
        self._check_currencies(menu.currencies())
        of = await self.get(restaurant_id)
        document = _menu_document(menu)
        now = self._clock.now()
        changed = await self._repository.put_menu(of, document, version, now, person.user_id)
        if changed is None:
            raise errors.changed_meanwhile()
        self._changed(changed, person, "menu")
        return menu_view(changed, document, now), changed.menu_version

    async def set_sold_out(self, restaurant_id: UUID, item_id: UUID, sold_out: bool, person: Principal) -> None:
        """Problem 404 ``unknown_item``."""
        await self.check_staff(person, restaurant_id)
        of = await self.get(restaurant_id)
        document = await self._repository.menu(restaurant_id, of.menu_version)
        if str(item_id) not in _item_ids(document):
            raise errors.unknown_item(item_id)
        changed = await self._repository.set_sold_out(
            restaurant_id, item_id, sold_out, self._clock.now(), person.user_id
        )
        self._changed(changed, person, "sold_out")

    async def changes(self, restaurant_id: UUID, before: int | None, limit: int) -> Sequence[Mapping[str, Any]]:
        """What owners and administrators changed, the newest first."""
        return [dict(row.items()) for row in await self._repository.changes(restaurant_id, before, limit)]

    def _check_currencies(self, currencies: set[str]) -> None:
        if currencies - {self._currency}:
            raise errors.wrong_currency(self._currency)

    def _changed(self, changed: Restaurant | None, person: Principal, what: str) -> Restaurant:
        if changed is None:
            raise errors.unknown_restaurant()
        self._log(changed.id, person, f"restaurant_{what}_changed")
        return changed

    def _log(self, restaurant_id: UUID, person: Principal, event: str) -> None:
        message = "%s of restaurant %s"
        decision(log, event, message, event, restaurant_id, restaurant_id=restaurant_id, user_id=person.user_id)

    async def staff(self, restaurant_id: UUID) -> Sequence[Mapping[str, Any]]:
        await self.get(restaurant_id)
        return [dict(row.items()) for row in await self._repository.staff(restaurant_id, MAX_STAFF)]

    async def add_staff(self, restaurant_id: UUID, user_id: UUID, admin: Principal) -> None:
        """Problem 404 ``unknown_restaurant`` or ``unknown_user``, 409 ``too_many_restaurants``."""
        await self.get(restaurant_id)
        now = self._clock.now()
        if not await self._repository.add_staff(restaurant_id, user_id, now, MAX_RESTAURANTS_OF_A_USER):
            if await self._repository.was_deleted(user_id):
                raise errors.unknown_user()
            raise errors.too_many_restaurants(MAX_RESTAURANTS_OF_A_USER)
        decision(log, "staff_added", "user %s works at restaurant %s", user_id, restaurant_id, admin_id=admin.user_id)

    async def remove_staff(self, restaurant_id: UUID, user_id: UUID, admin: Principal) -> None:
        await self._repository.remove_staff(restaurant_id, user_id)
        message = "user %s no longer works at restaurant %s"
        decision(log, "staff_removed", message, user_id, restaurant_id, admin_id=admin.user_id)

    async def works_at(self, user_id: UUID) -> list[UUID]:
        return await self._repository.works_at(user_id, MAX_RESTAURANTS_OF_A_USER)

    def now(self) -> datetime:
        return self._clock.now()


def _sort_key(row: tuple[Restaurant, float | None]) -> tuple[float, str, UUID]:
    of, distance_m = row
    return distance_m or 0.0, of.sort_name, of.id


def _menu_document(menu: MenuBody) -> dict[str, Any]:
    document, wrong = checked_menu(menu)
    if wrong:
        raise errors.invalid_menu(wrong)
    return document


def _item_ids(document: Mapping[str, Any]) -> set[str]:
    return {item["id"] for section in document["sections"] for item in section["items"]}
