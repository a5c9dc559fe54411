from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

import jwt
from fastapi import Depends, Query, Request, Response

from shop.kit.app import service_of
from shop.kit.auth import CurrentAdmin, CurrentUser, bearer_token
from shop.kit.ids import new_id
from shop.kit.pages import Page
from shop.kit.routing import router as make_router
from shop.kit.text import Email
from shop.user.domain import JWKS_MAX_AGE_S
from shop.user.schemas import (
    AddressIn,
    AddressOut,
    Credentials,
    Deletion,
    Profile,
    Refresh,
    Registration,
    Tokens,
    UserOut,
)
from shop.user.service import UserService

Service = Annotated[UserService, Depends(service_of)]
NO_STORE = {"Cache-Control": "no-store"}

router = make_router(prefix="/api/v1")
well_known = make_router()


def current_family(request: Request, _: CurrentUser) -> UUID | None:
    """The session of the access token, which the other dependency has verified."""
    claims: dict[str, Any] = jwt.decode(bearer_token(request), options={"verify_signature": False})
    return UUID(claims["sid"]) if "sid" in claims else None


CurrentFamily = Annotated[UUID | None, Depends(current_family)]


@router.post("/users", status_code=201, tags=["users"])
async def register_user(body: Registration, service: Service, response: Response) -> UserOut:
    """Create an account. Addresses are compared case-insensitively; 409 `email_taken` if one is taken."""
    response.headers["Location"] = "/api/v1/users/me"
    return UserOut.model_validate(await service.register(body.email, body.password, body.name))


@router.get("/users", tags=["users"])
async def list_users(
    _: CurrentAdmin,
    service: Service,
    email: Annotated[Email, Query(description="The whole address; case does not matter")],
) -> Page[UserOut]:
    """The account with this email address, if there is one, for administrators."""
    found = await service.find_by_email(email)
    return Page(items=[UserOut.model_validate(user) for user in found])


@router.post("/tokens", tags=["tokens"])
async def create_tokens(body: Credentials, service: Service, response: Response) -> Tokens:
    """Sign in. After five consecutive failures the address is locked: 429 `too_many_attempts` with Retry-After."""
    response.headers.update(NO_STORE)
    return Tokens.of(await service.sessions.sign_in(body.email, body.password))


@router.post("/tokens/refresh", tags=["tokens"])
async def refresh_tokens(body: Refresh, service: Service, response: Response) -> Tokens:
    """New tokens. Each refresh token works once; using an old one ends the session."""
    response.headers.update(NO_STORE)
    return Tokens.of(await service.sessions.refresh(body.refresh_token))


@router.delete("/tokens", status_code=204, tags=["tokens"])
async def delete_tokens(user: CurrentUser, family: CurrentFamily, service: Service) -> None:
    """Sign out: the refresh tokens of this session are revoked; the access token expires by itself."""
    await service.sessions.sign_out(user.user_id, family)


@router.get("/users/me", tags=["users"])
async def get_my_account(user: CurrentUser, service: Service) -> UserOut:
    return UserOut.model_validate(await service.find(user.user_id))


@router.patch("/users/me", tags=["users"])
async def change_my_account(body: Profile, user: CurrentUser, family: CurrentFamily, service: Service) -> UserOut:
    """Change the name or the password; a new password ends all other sessions."""
    if body.password and body.current_password:
        await service.change_password(user.user_id, body.current_password, body.password, family)
    if body.name:
        return UserOut.model_validate(await service.rename(user.user_id, body.name))
    return UserOut.model_validate(await service.find(user.user_id))


@router.delete("/users/me", status_code=204, tags=["users"])
async def delete_my_account(body: Deletion, user: CurrentUser, service: Service) -> None:
    """Delete the account, which the password confirms: addresses and sessions go, orders are kept as records.

    403 `wrong_password`, 429 `too_many_attempts`; 409 `last_admin` for the only administrator.
    """
    await service.delete(user.user_id, body.password)


@router.get("/users/me/addresses", tags=["users"])
async def list_my_addresses(user: CurrentUser, service: Service) -> Page[AddressOut]:
    """All addresses, oldest first, in one page."""
    own = await service.addresses(user.user_id)
    return Page(items=[AddressOut.model_validate(address) for address in own])


@router.post("/users/me/addresses", status_code=201, tags=["users"])
async def add_my_address(body: AddressIn, user: CurrentUser, service: Service, response: Response) -> AddressOut:
    address = await service.add_address(user.user_id, body.address(new_id()))
    response.headers["Location"] = f"/api/v1/users/me/addresses/{address.id}"
    return AddressOut.model_validate(address)


@router.put("/users/me/addresses/{address_id}", tags=["users"])
async def replace_my_address(address_id: UUID, body: AddressIn, user: CurrentUser, service: Service) -> AddressOut:
    return AddressOut.model_validate(await service.replace_address(user.user_id, body.address(address_id)))


@router.delete("/users/me/addresses/{address_id}", status_code=204, tags=["users"])
async def delete_my_address(address_id: UUID, user: CurrentUser, service: Service) -> None:
    await service.delete_address(user.user_id, address_id)


@well_known.get("/.well-known/jwks.json", tags=["tokens"])
async def get_token_keys(service: Service, response: Response) -> dict[str, Any]:
    """The public keys of access tokens (RFC 7517). The next key is included long before it is used.

    `deleted_users` are accounts whose access tokens are refused before they expire.
    """
    response.headers["Cache-Control"] = f"public, max-age={JWKS_MAX_AGE_S}"
    return await service.key_set()
