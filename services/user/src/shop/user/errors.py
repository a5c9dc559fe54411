"""The problems of this service; each code is stable."""

from __future__ import annotations

import math

from shop.kit.errors import Problem


def email_taken() -> Problem:
    return Problem(409, "email_taken", "There is an account with this email address already.")


def invalid_credentials() -> Problem:
    """The same problem for a wrong password and an unknown address, so that accounts cannot be enumerated."""
    return Problem(401, "invalid_credentials", "The email address or the password is wrong.", headers=CHALLENGE)


def too_many_attempts(wait_s: float) -> Problem:
    headers = {"Retry-After": str(max(1, math.ceil(wait_s)))}
    return Problem(429, "too_many_attempts", "Too many failed sign-ins; please wait a little.", headers=headers)


def invalid_refresh_token() -> Problem:
    return Problem(401, "invalid_refresh_token", "The refresh token is not valid; sign in again.", headers=CHALLENGE)


def refresh_token_reused() -> Problem:
    detail = "The refresh token was used before; for safety this sign-in has ended. Sign in again."
    return Problem(401, "refresh_token_reused", detail, headers=CHALLENGE)


def wrong_password() -> Problem:
    return Problem(403, "wrong_password", "The current password is wrong.")


def last_admin() -> Problem:
    return Problem(409, "last_admin", "The only administrator of a shop cannot be deleted.")


def unknown_user() -> Problem:
    return Problem(404, "unknown_user", "There is no such account.")


def unknown_address() -> Problem:
    return Problem(404, "unknown_address", "You have no such address.")


def too_many_addresses(limit: int) -> Problem:
    return Problem(409, "too_many_addresses", f"An account keeps at most {limit} addresses.")


def overloaded() -> Problem:
    detail = "Too many sign-ins at this moment; please try again."
    return Problem(503, "overloaded", detail, headers={"Retry-After": "2"})


CHALLENGE = {"WWW-Authenticate": "Bearer"}
