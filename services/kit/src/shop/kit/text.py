"""Normalization and validation of typed text: one form for each text, and no invisible characters.

They follow the PRECIS profiles (RFC 8264, 8265): Unicode NFC, no control, format or unassigned characters, so no line
breaks, escape sequences, zero-width characters or changes of writing direction in a name. Lengths count characters
after normalization. Text that was validated here can be stored, compared, printed and mailed as it is.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any

import idna
from email_validator import SPECIAL_USE_DOMAIN_NAMES, EmailNotValidError, validate_email
from pydantic import AfterValidator, Field, GetCoreSchemaHandler
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

SPECIAL_USE_DOMAIN_NAMES.clear()  # a shop in a private network has addresses such as admin@shop.local

MAX_EMAIL_LENGTH = 254
"""Characters of an address in SMTP (RFC 5321)."""

REFUSED_CATEGORIES = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Unicode's controls, formats, surrogates, private and unassigned characters, line and paragraph separators."""

BLANK_LETTERS = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
"""Letters, marks and symbols that draw nothing."""

JOINERS = frozenset("\u200c\u200d")
LINE_CHARACTERS = frozenset("\n\t")

LETTERS = {
    "æ": "ae", "œ": "oe", "ø": "o", "đ": "d", "ð": "d", "ħ": "h", "ı": "i", "ĸ": "k", "ł": "l", "ŋ": "n", "ŧ": "t",
    "þ": "th",
}  # fmt: skip
"""Transliterations of lower-case letters that Unicode does not decompose."""

FOLDED = str.maketrans(LETTERS)
DASHES = str.maketrans(dict.fromkeys("\u2010\u2011\u2012\u2013\u2014\u2212", "-"))


def one_line(text: str) -> str:
    """``text`` in NFC, trimmed, with single spaces; PydanticCustomError ``text_characters`` for invisible ones."""
    plain = text if text.isascii() and text.isprintable() else unicodedata.normalize("NFC", _checked(text))
    return " ".join(plain.split())


def paragraphs(text: str) -> str:
    """``text`` in NFC and trimmed, with its line ends as LF; PydanticCustomError ``text_characters``."""
    lines = text.replace("\r\n", "\n").replace("\r", "\n")
    return unicodedata.normalize("NFC", _checked(lines, LINE_CHARACTERS)).strip()


def password(text: str) -> str:
    """``text`` as OpaqueString (RFC 8265) has it: NFC, every space a plain one; nothing is trimmed or folded."""
    spaced = "".join(" " if unicodedata.category(character) == "Zs" else character for character in text)
    return unicodedata.normalize("NFC", spaced)


def new_password(text: str) -> str:
    """A new password; PydanticCustomError for control characters, which cannot be typed again."""
    if any(unicodedata.category(character) == "Cc" for character in text):
        raise PydanticCustomError(
            "text_characters", "A password must not contain line breaks or other control characters."
        )
    return password(text)


def code(text: str) -> str:
    """A coupon's code as it is compared: no spaces, upper case, plain dashes and digits."""
    folded = unicodedata.normalize("NFKC", text).translate(DASHES)
    return "".join(one for one in folded if not _invisible(one) and not one.isspace()).upper()


def printable(text: str) -> str:
    """``text`` as one line of printable characters; for text that was stored before it was validated."""
    if text.isascii() and text.isprintable():
        return " ".join(text.split())
    return " ".join("".join(" " if _invisible(one) else one for one in unicodedata.normalize("NFC", text)).split())


def folded(text: str) -> str:
    """``text`` as searches compare it: lower case, without accents, ø as o, æ as ae, without invisible characters."""
    decomposed = unicodedata.normalize("NFKD", text)
    plain = "".join(one for one in decomposed if not unicodedata.combining(one) and unicodedata.category(one) != "Cf")
    return plain.casefold().translate(FOLDED)


def email_address(text: str) -> str:
    """The form in which an address is stored and compared: NFC, lower case, the domain in Unicode.

    The local part is lower-cased too: servers ignore its case in practice, and accounts that differ only in case
    would help impostors. Raises PydanticCustomError ``email_address``.
    """
    return _email(text, international=True)


def new_email_address(text: str) -> str:
    """The same for a new account, limited to addresses that every mail server supports.

    A domain such as münchen.de is sent in its ASCII form; an ü before the @ would require SMTPUTF8 on every server.
    """
    return _email(text, international=False)


def ascii_address(address: str) -> str:
    """``address`` with its domain in ASCII (RFC 5891), as SMTP requires; ValueError for an invalid domain."""
    local, at, domain = address.rpartition("@")
    if domain.isascii():
        return address
    try:
        return f"{local}{at}{idna.encode(domain, uts46=True).decode()}"
    except idna.IDNAError as error:
        raise ValueError(f"no domain that mail can be sent to: {error}") from None


def _email(text: str, *, international: bool) -> str:
    if len(text) > MAX_EMAIL_LENGTH:
        raise PydanticCustomError("email_address", f"An email address has at most {MAX_EMAIL_LENGTH} characters.")
    if not international and not text.rpartition("@")[0].strip().isascii():
        message = (
            "The part before the @ can have only letters without accents, digits and signs; other mail may not arrive."
        )
        raise PydanticCustomError("email_address", message)
    try:
        checked = validate_email(text.strip(), check_deliverability=False, allow_smtputf8=international)
    except EmailNotValidError as error:
        raise PydanticCustomError("email_address", "{message}", {"message": str(error)}) from None
    return checked.normalized.lower()


def _checked(text: str, allowed: frozenset[str] = frozenset()) -> str:
    for at, character in enumerate(text):
        if _invisible(character) and character not in allowed and not _joins(text, at):
            what = unicodedata.name(character, "control character")
            message = "There is a character in it that cannot be seen: U+{number} {what}."
            raise PydanticCustomError("text_characters", message, {"number": f"{ord(character):04X}", "what": what})
    return text


def _invisible(character: str) -> bool:
    return unicodedata.category(character) in REFUSED_CATEGORIES or character in BLANK_LETTERS


def _joins(text: str, at: int) -> bool:
    """Whether a joiner is valid at its position (RFC 5892), as in Persian names, or joins two emoji."""
    if text[at] not in JOINERS:
        return False
    around = (text[at - 1 : at].strip("\ufe0f"), text[at + 1 : at + 2])
    if all(one and unicodedata.category(one) in {"So", "Sk"} for one in around):
        return True
    try:
        return idna.valid_contextj(text, at)
    except ValueError:
        return False


@dataclass(frozen=True)
class Typed:
    """Annotates a ``str`` field: it is normalized by ``rule``, then has ``min_length`` to ``max_length`` characters."""

    max_length: int
    min_length: int = 1
    rule: Callable[[str], str] = one_line

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        bounded = core_schema.str_schema(min_length=self.min_length, max_length=self.max_length)
        return core_schema.no_info_before_validator_function(self._apply, bounded)

    def _apply(self, value: Any) -> Any:
        return self.rule(value) if isinstance(value, str) else value


_EMAIL = Field(min_length=3, max_length=MAX_EMAIL_LENGTH, json_schema_extra={"format": "email"})
Email = Annotated[str, _EMAIL, AfterValidator(email_address)]
NewEmail = Annotated[str, _EMAIL, AfterValidator(new_email_address)]
