"""Fields of messages as the types of the domain."""

from __future__ import annotations

from uuid import UUID

from shop.kit.errors import FieldError, Problem


def uuid_of(field: str, text: str) -> UUID:
    """The UUID; Problem 422 ``invalid_request`` that names the field."""
    try:
        return UUID(text)
    except ValueError:
        error: FieldError = {"field": field, "message": "is not a UUID"}
        raise Problem(422, "invalid_request", "The request is not valid.", errors=[error]) from None
