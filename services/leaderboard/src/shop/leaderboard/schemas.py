"""Request and response bodies."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Self
from uuid import UUID

from pydantic import AfterValidator, BaseModel, Field

from shop.kit.bodies import RequestBody, example
from shop.leaderboard.domain import MAX_NOTE_CHARACTERS, Entry, Origin, clean_note

Note = Annotated[str, Field(min_length=1, max_length=MAX_NOTE_CHARACTERS), AfterValidator(clean_note)]


class NewEntry(RequestBody):
    model_config = example(note="Call the supplier")

    note: Note


class EntryView(BaseModel):
    id: UUID
    origin: Origin
    note: str
    created_at: datetime

    @classmethod
    def of(cls, entry: Entry) -> Self:
        return cls(id=entry.id, origin=entry.origin, note=entry.note, created_at=entry.created_at)
