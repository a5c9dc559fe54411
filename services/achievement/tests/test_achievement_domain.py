"""What a note may be."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shop.achievement.domain import MAX_NOTE_CHARACTERS, clean_note


@given(st.text(max_size=MAX_NOTE_CHARACTERS * 2))
def test_note_is_refused_or_clean(text: str) -> None:
    try:
        note = clean_note(text)
    except ValueError:
        assert not 1 <= len(" ".join(text.split())) <= MAX_NOTE_CHARACTERS
    else:
        assert clean_note(note) == note
        assert note.split() == text.split()


@pytest.mark.parametrize("text", ["", "  \n ", "x" * (MAX_NOTE_CHARACTERS + 1)])
def test_empty_and_huge_notes_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="a note has 1 to"):
        clean_note(text)
