"""What an entry is. Pure: no input or output."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

MAX_NOTE_CHARACTERS = 200
Origin = Literal["user", "order"]


@dataclass(frozen=True)
class Entry:
    """A note of one user; ``created_at`` is UTC."""

    id: UUID
    user_id: UUID
    origin: Origin
    note: str
    created_at: datetime


def clean_note(text: str) -> str:
    """``text`` with single spaces; ValueError when nothing is left or it is longer than MAX_NOTE_CHARACTERS."""
    note = " ".join(text.split())
    if not 1 <= len(note) <= MAX_NOTE_CHARACTERS:
        raise ValueError(f"a note has 1 to {MAX_NOTE_CHARACTERS} characters")
    return note
