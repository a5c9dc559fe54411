"""Typed text: one normal form, no invisible characters, and addresses that mail can be sent to."""

from __future__ import annotations

import unicodedata
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from shop.kit import text
from shop.kit.text import Typed

NFD_RENE = "Rene\u0301"


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("  Ada   Lovelace ", "Ada Lovelace"),
        ("Ada\u00a0Lovelace\u3000", "Ada Lovelace"),
        (NFD_RENE, "Ren\u00e9"),
        ("\u0639\u0644\u06cc\u200c\u0631\u0636\u0627", "\u0639\u0644\u06cc\u200c\u0631\u0636\u0627"),
        ("Garden \U0001f469\u200d\U0001f33e", "Garden \U0001f469\u200d\U0001f33e"),
        ("李小龍", "李小龍"),
        ("O’Neil-Søren", "O’Neil-Søren"),
    ],
)
def test_a_name_has_one_spelling(typed: str, kept: str) -> None:
    assert text.one_line(typed) == kept


INVISIBLE = {
    "carriage return": "\r",
    "line feed": "\n",
    "escape": "\x1b",
    "nul": "\x00",
    "tab": "\t",
    "next line": "\x85",
    "line separator": "\u2028",
    "zero-width space": "\u200b",
    "word joiner": "\u2060",
    "byte order mark": "\ufeff",
    "soft hyphen": "\xad",
    "right-to-left override": "\u202e",
    "right-to-left isolate": "\u2067",
    "joiner between Latin letters": "\u200d",
    "private use": "\ue000",
    "noncharacter": "\uffff",
    "Hangul filler": "\u3164",
    "tag": "\U000e0041",
}


@pytest.mark.parametrize("character", INVISIBLE.values(), ids=INVISIBLE)
def test_invisible_characters_are_refused_and_named(character: str) -> None:
    for typed in (f"Ada{character}Lovelace", f"{character}Ada", f"Ada{character}"):
        with pytest.raises(ValueError, match=f"cannot be seen: U\\+{ord(character):04X}"):
            text.one_line(typed)
    assert text.printable(f"Ada{character}Lovelace") == "Ada Lovelace"


def test_paragraphs_keep_their_lines() -> None:
    assert text.paragraphs("One\r\n\r\nTwo\rThree\t4\n") == "One\n\nTwo\nThree\t4"
    with pytest.raises(ValueError, match="cannot be seen"):
        text.paragraphs("One\x1b[2J")


@given(st.text())
def test_a_normalized_line_does_not_change_again(typed: str) -> None:
    assert text.one_line(text.printable(typed)) == text.printable(typed)
    try:
        kept = text.one_line(typed)
    except ValueError:
        return
    assert text.one_line(kept) == kept == text.printable(kept)
    assert unicodedata.is_normalized("NFC", kept)
    assert "  " not in kept


@pytest.mark.parametrize(
    ("typed", "stored"),
    [
        ("Ada@Example.COM", "ada@example.com"),
        ("  ada@example.com ", "ada@example.com"),
        ("admin@shop.local", "admin@shop.local"),
        ("jo+books@example.com", "jo+books@example.com"),
        ("A@xn--mnchen-3ya.de", "a@münchen.de"),
        ("a@MÜNCHEN.de", "a@münchen.de"),
        ("a@mu\u0308nchen.de", "a@münchen.de"),
    ],
)
def test_an_address_has_one_spelling(typed: str, stored: str) -> None:
    assert text.email_address(typed) == text.new_email_address(typed) == stored


@pytest.mark.parametrize(
    "typed",
    [
        "", "ada", "ada@", "@example.com", "a b@example.com", "ada@exa mple.com", "ada@example..com",
        "a" * 250 + "@x.de", "ada@example.com\r\nBcc: all@example.com", "a\u200bda@example.com",
    ],
)  # fmt: skip
def test_an_invalid_address_is_refused_and_explained(typed: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        text.email_address(typed)


def test_a_new_address_needs_no_extension_of_a_mail_server() -> None:
    assert text.email_address("Müller@example.com") == "müller@example.com"
    with pytest.raises(ValueError, match="only letters without accents"):
        text.new_email_address("müller@example.com")


@given(st.emails() | st.builds("a@{}.de".format, st.text("äöüßéabc-", min_size=1, max_size=20)))
def test_every_new_address_can_be_handed_to_a_mail_server(typed: str) -> None:
    try:
        stored = text.new_email_address(typed)
    except ValueError:
        return
    assert text.new_email_address(stored) == stored
    sent = text.ascii_address(stored)
    assert sent.isascii()
    assert len(sent) <= text.MAX_EMAIL_LENGTH
    assert text.new_email_address(sent) == stored


def test_no_domain_has_no_ascii_form() -> None:
    with pytest.raises(ValueError, match="no domain"):
        text.ascii_address("a@ü..de")


def test_a_password_is_normalized_and_never_trimmed() -> None:
    assert text.password(" pa\u0308ss\u00a0word ") == " p\u00e4ss word "
    assert text.password("ﬁ Å ß") != text.password("fi å ss")
    with pytest.raises(ValueError, match="control characters"):
        text.new_password("ten letters\n")


@pytest.mark.parametrize("typed", ["SPRING-10", " spring-10 ", "spring –10", "ｓｐｒｉｎｇ-１０", "Spr\u200bing-10\n"])
def test_a_code_is_found_however_it_is_typed(typed: str) -> None:
    assert text.code(typed) == "SPRING-10"


def test_words_are_compared_without_accents() -> None:
    assert text.folded("Søren Ærø Łódź Straße Đorđe ﬁn So\u200bren") == "soren aero lodz strasse dorde fin soren"


NAME: TypeAdapter[str] = TypeAdapter(Annotated[str, Typed(5)])


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("   ", "string_too_short"),
        ("sixsix", "string_too_long"),
        ("a\x1bb", "text_characters"),
        (5, "string_type"),
        (None, "string_type"),
    ],
)
def test_a_field_that_breaks_a_rule_is_refused(value: Any, kind: str) -> None:
    with pytest.raises(ValidationError) as refused:
        NAME.validate_python(value)
    assert [error["type"] for error in refused.value.errors()] == [kind]


def test_lengths_count_what_is_kept() -> None:
    assert NAME.validate_python("  12345  ") == "12345"
    assert NAME.validate_python("e\u0301" * 5) == "é" * 5
    assert NAME.json_schema() == {"type": "string", "minLength": 1, "maxLength": 5}
