"""The scripted user and notification services, and what administrators ask the recommendation service."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import uuid5

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from services.storefront.tests.scripted_data import NAMESPACE, Person, page_of
from shop.kit.errors import Problem

if TYPE_CHECKING:
    from services.storefront.tests.scripted import ScriptedShop


def user_routes(app: FastAPI, shop: ScriptedShop) -> None:
    @app.post("/api/v1/users")
    async def register(request: Request) -> Response:
        person = Person(**await request.json())
        if person.email in shop.people:
            raise Problem(409, "email_taken", "There is an account with this email address already.")
        shop.people[person.email] = person
        return JSONResponse({"id": person.id}, 201)

    @app.post("/api/v1/tokens")
    async def sign_in(request: Request) -> dict[str, Any]:
        if shop.sign_in_refusal:
            raise shop.sign_in_refusal
        body = await request.json()
        person = shop.people.get(body["email"])
        if person is None or person.password != body["password"]:
            raise Problem(401, "invalid_credentials", "The email address or password is incorrect.")
        return shop.tokens(person)

    @app.post("/api/v1/tokens/refresh")
    async def refresh(request: Request) -> dict[str, Any]:
        if shop.refresh_refused:
            raise Problem(401, "invalid_refresh_token", "The refresh token is not valid; sign in again.")
        shop.refreshed += 1
        shop.token_ttl_s = 900
        return shop.tokens(shop.people[(await request.json())["refresh_token"].removeprefix("refresh:")])

    @app.delete("/api/v1/tokens", status_code=204)
    async def sign_out(request: Request) -> None:
        shop.person_of(request)


def deletion_routes(app: FastAPI, shop: ScriptedShop) -> None:
    @app.delete("/api/v1/users/me", status_code=204)
    async def delete(request: Request) -> None:
        person = shop.person_of(request)
        if person.password != (await request.json())["password"]:
            raise Problem(403, "wrong_password", "The current password is wrong.")
        if person.role == "admin":
            raise Problem(409, "last_admin", "The only administrator of a shop cannot be deleted.")
        del shop.people[person.email]


def address_routes(app: FastAPI, shop: ScriptedShop) -> None:
    @app.get("/api/v1/users/me/addresses")
    async def addresses(request: Request) -> dict[str, Any]:
        return {"items": shop.person_of(request).addresses}

    @app.post("/api/v1/users/me/addresses", status_code=201)
    async def add(request: Request) -> dict[str, Any]:
        person = shop.person_of(request)
        if shop.address_refusal:
            raise shop.address_refusal
        person.addresses.append({**await request.json(), "id": str(uuid5(NAMESPACE, str(len(person.addresses))))})
        return person.addresses[-1]

    @app.delete("/api/v1/users/me/addresses/{address_id}", status_code=204)
    async def delete(address_id: str, request: Request) -> None:
        person = shop.person_of(request)
        person.addresses = [address for address in person.addresses if address["id"] != address_id]


def message_routes(app: FastAPI, shop: ScriptedShop) -> None:
    @app.get("/api/v1/notifications")
    async def mine(request: Request) -> dict[str, Any]:
        shop.person_of(request)
        return page_of(shop.messages, request)

    @app.get("/api/v1/notifications/all")
    async def list_all(request: Request) -> dict[str, Any]:
        shop.admin_of(request)
        return page_of(shop.messages, request)


def recommendation_routes(app: FastAPI, shop: ScriptedShop) -> None:
    @app.get("/api/v1/recommendations/model")
    async def model(request: Request) -> dict[str, Any]:
        shop.admin_of(request)
        return shop.model

    @app.get("/api/v1/recommendations/preview")
    async def preview(customer: str, request: Request) -> dict[str, Any]:
        shop.admin_of(request)
        if customer not in shop.previews:
            raise Problem(404, "unknown_customer", "There is no such customer.")
        return shop.previews[customer]
