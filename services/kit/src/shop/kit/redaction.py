"""What may be written to a log: no secret, no card number, no email address, no value that a person entered.

Texts of this project's own errors are written as they are. Those of a wrong value, such as ``ValueError`` or what
pydantic and the database add to theirs, may repeat the value, so of them only the kind is written.
"""

from __future__ import annotations

import asyncio
import functools
import re
import traceback
from collections.abc import Iterator
from typing import Any

import asyncpg
import orjson
from pydantic import ValidationError

REDACTED = "[redacted]"
MAX_TEXT_CHARACTERS = 4_000
"""Of one field; a longer one is cut before it is searched for secrets."""
MAX_CHAINED_ERRORS = 5
MAX_STACK_FRAMES = 40
MAX_NAMED_FIELDS = 10
MAX_KNOWN_NAMES = 256
"""Of fields; the code has fewer."""

SECRET_NAME = re.compile(
    r"passw|secret|token|authorization|cookie|api_?key|private_?key|(?:^|_)(?:card|pan)(?:$|_)|cvc|cvv", re.IGNORECASE
)
"""Names of fields whose value is never written."""
SECRETS = re.compile(
    r"(?P<scheme>\b(?:bearer|basic)\s+)[\w.~+/=-]{8,}"
    r"|(?P<user>\b[a-z][a-z0-9+.-]*://[^\s:/@]*:)[^\s@/]+(?=@)"
    r"|\beyJ[\w-]{8,}\.[\w-]{4,}\.[\w-]*"
    r"|\b(?:tok|pm|sk|pk|rk|whsec|seti|pi)_\w{4,}"
    r"|[\w.+-]+@[\w-]+(?:\.[\w-]+)+"
    r"|(?P<name>\b[\w-]*(?:password|passwd|secret|token|authorization|cookie|api_?key)[\w-]*[\"']?\s*[=:]\s*[\"']?)[^\s\"',&;)}]+",
    re.IGNORECASE,
)
SIGNS = (
    "_", "@", "bearer", "basic", "eyj", "passw", "secret", "token", "authorization", "cookie", "apikey",
)  # fmt: skip
"""SECRETS finds nothing in a text that, folded, has none of these: looking for them takes a tenth of the time."""
DIGITS = re.compile(r"(?<![\w.-])\d(?:[ -]?\d){12,18}(?![\w-])")

TRUSTED_MODULES = ("shop.", "nats.", "aiohttp.", "grpc.", "redis.", "ssl", "asyncio.", "orjson")
TRUSTED_TYPES = (
    OSError, RuntimeError, AssertionError, AttributeError, NameError, ImportError, TypeError, IndexError,
    ArithmeticError, MemoryError, asyncio.CancelledError, orjson.JSONDecodeError,
)  # fmt: skip
"""Errors whose texts are about the program, not about a value."""


def without_secrets(text: str) -> str:
    """``text`` without what looks like a token, password, card number or email address."""
    found = text[:MAX_TEXT_CHARACTERS]
    folded = found.casefold()
    if any(sign in folded for sign in SIGNS):
        found = SECRETS.sub(_hidden, found)
    return DIGITS.sub(lambda match: REDACTED if _is_card_number(match[0]) else match[0], found)


def _hidden(match: re.Match[str]) -> str:
    return (match["scheme"] or match["user"] or match["name"] or "") + REDACTED


def _is_card_number(text: str) -> bool:
    """By its check digit (Luhn)."""
    digits = [int(one) for one in text if one.isdigit()]
    doubled = (sum(divmod(2 * digit, 10)) for digit in digits[-2::-2])
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


@functools.lru_cache(MAX_KNOWN_NAMES)
def _is_secret(name: str) -> bool:
    return SECRET_NAME.search(name) is not None


def clean(name: str, value: Any) -> Any:
    """The value of a field of a log line."""
    if _is_secret(name):
        return REDACTED
    return without_secrets(value) if isinstance(value, str) else value


class ErrorText:
    """An error as the argument of a log message: its kind, and its text if that repeats no value."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def __str__(self) -> str:
        return text_of(self._error) or type(self._error).__name__

    def __repr__(self) -> str:
        return described(self._error)


def described(error: BaseException) -> str:
    """The error's type, and its text if that repeats no value."""
    text = text_of(error)
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def text_of(error: BaseException) -> str:
    """The text of an error; empty when it may repeat a value."""
    if isinstance(error, asyncpg.PostgresError):
        # Its whole text has DETAIL, with the values of the row.
        return "" if isinstance(error, asyncpg.DataError) else str(error.args[0]) if error.args else ""
    if isinstance(error, ValidationError):
        return "; ".join(_named_fields(error))
    module = type(error).__module__ + "."
    return str(error) if isinstance(error, TRUSTED_TYPES) or module.startswith(TRUSTED_MODULES) else ""


def _named_fields(error: ValidationError) -> Iterator[str]:
    for one in error.errors(include_url=False, include_context=False, include_input=False)[:MAX_NAMED_FIELDS]:
        yield f"{'.'.join(map(str, one['loc']))}: {one['type']}"


def stack_of(error: BaseException) -> str:
    """A traceback with the errors that led to it, each without values."""
    parts: list[str] = []
    current: BaseException | None = error
    while current is not None and len(parts) < MAX_CHAINED_ERRORS:
        frames = "".join(traceback.format_tb(current.__traceback__, -MAX_STACK_FRAMES))
        parts.append(f"Traceback (most recent call last):\n{frames}{described(current)}")
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
    return "\n\nwhich followed:\n\n".join(parts)
