"""The problems that player answers with; their codes are part of the API."""

from __future__ import annotations

from uuid import UUID

from shop.kit.errors import Problem


def unknown_entry(entry_id: UUID) -> Problem:
    return Problem(404, "unknown_entry", f"You have no entry {entry_id}.")


def too_many_entries(limit: int) -> Problem:
    return Problem(409, "too_many_entries", f"A user has at most {limit} entries.")
