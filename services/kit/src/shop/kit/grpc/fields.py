"""Fields of messages as the types of the domain."""

from __future__ import annotations

from uuid import UUID

from shop.kit.errors import invalid_field


def uuid_of(field: str, text: str) -> UUID:
    """The UUID; Problem 422 ``invalid_request`` that names the field."""
    try:
        return UUID(text)
    except ValueError:
        raise invalid_field(field, "is not a UUID") from None
