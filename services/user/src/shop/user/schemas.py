"""Requests and responses."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, model_validator

from shop.kit.bodies import RequestBody, example
from shop.kit.postal import PostalAddress
from shop.kit.text import Email, NewEmail, Typed, new_password
from shop.user import domain
from shop.user.sessions import TokenPair

MAX_NAME_LENGTH = 120
MAX_REFRESH_TOKEN_LENGTH = 128

NewPassword = Annotated[str, Typed(domain.MAX_PASSWORD_LENGTH, domain.MIN_PASSWORD_LENGTH, new_password)]
Password = Annotated[str, Field(min_length=1, max_length=4 * domain.MAX_PASSWORD_LENGTH)]
"""As typed, which may be longer than the normalized password."""
Name = Annotated[str, Typed(MAX_NAME_LENGTH)]
Line = Annotated[str, Typed(200)]


class Registration(RequestBody):
    model_config = example(email="ada@example.com", password="correct horse battery", name="Ada Lovelace")

    email: NewEmail
    password: NewPassword
    name: Name


class Credentials(RequestBody):
    model_config = example(email="ada@example.com", password="correct horse battery")

    email: Email
    password: Password


class Refresh(RequestBody):
    model_config = example(refresh_token="Zq3w0X2mB8uY5sK1rT7vN4pL6dJ9hF0c")

    refresh_token: Annotated[str, Field(min_length=1, max_length=MAX_REFRESH_TOKEN_LENGTH)]


class Profile(RequestBody):
    """Changes to the account; a new password requires the current one."""

    model_config = example(
        name="Ada King", password="another long passphrase", current_password="correct horse battery"
    )

    name: Name | None = None
    password: NewPassword | None = None
    current_password: Password | None = None

    @model_validator(mode="after")
    def _password_needs_the_current_one(self) -> Self:
        if (self.password is None) != (self.current_password is None):
            raise ValueError("password and current_password go together")
        return self


class Deletion(RequestBody):
    """The confirmation that the owner of the account deletes it."""

    model_config = example(password="another long passphrase")

    password: Password


class AddressIn(PostalAddress, RequestBody):
    model_config = example(
        name="Ada Lovelace", street="Invalidenstraße 117", city="Berlin", postal_code="10115", country="DE"
    )

    name: Name
    street: Line

    def address(self, address_id: UUID) -> domain.Address:
        return domain.Address(address_id, **self.model_dump())


class UserOut(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: UUID
    email: str
    name: str
    role: domain.Role
    created_at: datetime


class AddressOut(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: UUID
    name: str
    street: str
    city: str
    postal_code: str
    country: str
    region: str


class Tokens(BaseModel):
    access_token: str
    refresh_token: str
    token_type: str = "Bearer"
    expires_in: Annotated[int, Field(description="seconds until the access token expires")]

    @classmethod
    def of(cls, pair: TokenPair) -> Tokens:
        return cls(access_token=pair.access_token, refresh_token=pair.refresh_token, expires_in=pair.expires_in)
