"""Who makes the current call: one of the shop's services, or a user with an access token."""

from __future__ import annotations

import hmac
from contextvars import ContextVar
from dataclasses import dataclass
from uuid import UUID

from shop.kit.auth import Authenticator, Principal
from shop.kit.errors import Problem


@dataclass(frozen=True, slots=True)
class Caller:
    """``user`` is None for a service of the shop."""

    user: Principal | None = None

    def check_user(self, user_id: UUID) -> None:
        """Problem 403 ``other_user`` for a customer who asks about another user; others may ask about any."""
        if self.user is not None and self.user.role == "customer" and self.user.user_id != user_id:
            raise Problem(403, "other_user", "This is about another user than the one of the access token.")


_current: ContextVar[Caller] = ContextVar("grpc_caller")


def current() -> Caller:
    """The caller of the method that runs; LookupError outside of one."""
    return _current.get()


class Authentication:
    """Takes the services' token, and where ``users`` are admitted their access tokens, too."""

    def __init__(self, internal_token: str, authenticator: Authenticator, *, users: bool) -> None:
        self._internal_token = internal_token.encode()
        self._authenticator = authenticator
        self._users = users

    async def begin(self, authorization: str) -> None:
        """Set the current caller from the metadata ``authorization``; Problem 401 or 403 for a token that is wrong."""
        scheme, _, token = authorization.partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token:
            raise Problem(401, "token_missing", "This needs an access token as metadata: authorization: Bearer TOKEN.")
        if self._internal_token and hmac.compare_digest(token.encode(), self._internal_token):
            _current.set(Caller())
        elif self._users:
            _current.set(Caller(await self._authenticator.principal(token)))
        else:
            raise Problem(403, "internal_only", "Only the shop's own services may ask this.")
