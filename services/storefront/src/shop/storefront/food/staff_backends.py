"""What restaurant staff, couriers and administrators ask the services for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any
from uuid import UUID

from shop.kit.errors import Problem
from shop.kit.http import ServiceClient
from shop.storefront.food.schemas import Courier, Delivery, Demand, Job, Menu, StaffMember, Ticket, User, Workplace
from shop.storefront.schemas import Page

LIST_LIMIT = 100
"""The most of one response."""
MAX_PAGES = 20


class Kitchens:
    def __init__(self, client: ServiceClient) -> None:
        self._client = client

    async def mine(self, token: str) -> Sequence[Workplace]:
        """Where the user works."""
        answer = await self._client.get("/api/v1/restaurants/mine", token=token)
        return Page[Workplace].model_validate(answer.json).items

    async def tickets(self, token: str, restaurant_id: UUID) -> Sequence[Ticket]:
        """The open ones, the oldest first."""
        path = f"/api/v1/restaurants/{restaurant_id}/tickets"
        answer = await self._client.get(path, params={"limit": LIST_LIMIT}, token=token)
        return Page[Ticket].model_validate(answer.json).items[::-1]

    async def act(self, token: str, restaurant_id: UUID, order_id: UUID, action: str) -> None:
        await self._client.post(f"/api/v1/restaurants/{restaurant_id}/tickets/{order_id}/{action}", token=token)

    async def change(self, token: str, restaurant_id: UUID, change: dict[str, Any]) -> None:
        await self._client.patch(f"/api/v1/restaurants/{restaurant_id}", json=change, token=token)

    async def workplace(self, token: str, restaurant_id: UUID) -> Workplace:
        """Problem 403 `staff_only` for a restaurant where the user does not work."""
        found = next((one for one in await self.mine(token) if one.id == restaurant_id), None)
        if found is None:
            raise Problem(403, "staff_only", "This page is for the restaurant's staff only.")
        return found

    async def versioned(self, token: str, restaurant_id: UUID) -> tuple[Workplace, str]:
        """The restaurant, and the version of its hours for `put_hours`."""
        answer = await self._client.get(f"/api/v1/restaurants/{restaurant_id}", token=token)
        return Workplace.model_validate(answer.json), answer.etag

    async def put_hours(self, token: str, restaurant_id: UUID, hours: Mapping[str, Any], version: str) -> None:
        """Problem 412 `changed_meanwhile` unless the hours still have this version."""
        path = f"/api/v1/restaurants/{restaurant_id}/hours"
        await self._client.put(path, json=hours, token=token, headers={"If-Match": version})

    async def menu(self, token: str, restaurant_id: UUID) -> tuple[Menu, str]:
        """The menu, and its version for `put_menu`."""
        answer = await self._client.get(f"/api/v1/restaurants/{restaurant_id}/menu", token=token)
        return Menu.model_validate(answer.json), answer.etag

    async def put_menu(self, token: str, restaurant_id: UUID, menu: Mapping[str, Any], version: str) -> None:
        """Problem 412 `changed_meanwhile` unless the menu still has this version."""
        path = f"/api/v1/restaurants/{restaurant_id}/menu"
        await self._client.put(path, json=menu, token=token, headers={"If-Match": version})

    async def close_on(self, token: str, restaurant_id: UUID, day: date | None = None) -> None:
        """Close on a date; without one today in the restaurant's time zone."""
        body = {"date": day.isoformat()} if day else {}
        await self._client.post(f"/api/v1/restaurants/{restaurant_id}/closures", json=body, token=token)

    async def reopen(self, token: str, restaurant_id: UUID, day: date) -> None:
        await self._client.delete(f"/api/v1/restaurants/{restaurant_id}/closures/{day.isoformat()}", token=token)

    async def set_sold_out(self, token: str, restaurant_id: UUID, item_id: UUID, sold_out: bool) -> None:
        path = f"/api/v1/restaurants/{restaurant_id}/items/{item_id}"
        await self._client.patch(path, json={"sold_out": sold_out}, token=token)

    async def add_staff(self, token: str, restaurant_id: UUID, user_id: UUID) -> None:
        await self._client.put(f"/api/v1/restaurants/{restaurant_id}/staff/{user_id}", token=token)

    async def remove_staff(self, token: str, restaurant_id: UUID, user_id: UUID) -> bool:
        """False if the user does not work there."""
        path = f"/api/v1/restaurants/{restaurant_id}/staff"
        staff = Page[StaffMember].model_validate((await self._client.get(path, token=token)).json).items
        if user_id not in {one.user_id for one in staff}:
            return False
        await self._client.delete(f"{path}/{user_id}", token=token)
        return True


class Couriers:
    def __init__(self, client: ServiceClient) -> None:
        self._client = client

    async def me(self, token: str) -> Courier:
        """Problem 404 `not_a_courier`."""
        return Courier.model_validate((await self._client.get("/api/v1/couriers/me", token=token)).json)

    async def set_shift(self, token: str, on_shift: bool) -> None:
        await self._client.patch("/api/v1/couriers/me", json={"on_shift": on_shift}, token=token)

    async def add_position(self, token: str, lat: float, lon: float) -> None:
        await self._client.post("/api/v1/couriers/me/positions", json={"lat": lat, "lon": lon}, token=token)

    async def jobs(self, token: str) -> Sequence[Job]:
        """In the order of doing them."""
        return Page[Job].model_validate((await self._client.get("/api/v1/couriers/me/jobs", token=token)).json).items

    async def act(self, token: str, order_id: UUID, action: str, code: str = "") -> None:
        """One step of a delivery. Couriers deliver with the customer's code, administrators without."""
        body = ({"code": code} if code else {}) if action == "deliver" else None
        await self._client.post(f"/api/v1/deliveries/{order_id}/{action}", json=body, token=token)

    async def all(self, token: str) -> Sequence[Courier]:
        """At most MAX_PAGES times LIST_LIMIT of them, for administrators."""
        found: list[Courier] = []
        cursor: str | None = ""
        for _ in range(MAX_PAGES):
            params = {"limit": LIST_LIMIT, **({"cursor": cursor} if cursor else {})}
            answer = await self._client.get("/api/v1/couriers", params=params, token=token)
            page = Page[Courier].model_validate(answer.json)
            found += page.items
            cursor = page.next_cursor
            if not cursor:
                break
        return found

    async def deliveries(self, token: str, state: str) -> Sequence[Delivery]:
        """The newest LIST_LIMIT in this state, for administrators."""
        params = {"state": state, "limit": LIST_LIMIT}
        answer = await self._client.get("/api/v1/deliveries", params=params, token=token)
        return Page[Delivery].model_validate(answer.json).items

    async def demand(self, token: str) -> Demand:
        return Demand.model_validate((await self._client.get("/api/v1/deliveries/demand", token=token)).json)

    async def put(self, token: str, user_id: UUID, name: str, vehicle: str) -> None:
        """Make a user a courier, or change one."""
        await self._client.put(f"/api/v1/couriers/{user_id}", json={"name": name, "vehicle": vehicle}, token=token)


class People:
    def __init__(self, client: ServiceClient) -> None:
        self._client = client

    async def by_email(self, token: str, email: str) -> User | None:
        answer = await self._client.get("/api/v1/users", params={"email": email}, token=token)
        return next(iter(Page[User].model_validate(answer.json).items), None)
