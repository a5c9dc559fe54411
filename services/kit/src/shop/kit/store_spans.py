"""Spans of statements of PostgreSQL and commands of Valkey, in sampled traces alone.

They hold what a statement does and to which table: never its text with values, a key or an argument.
"""

from __future__ import annotations

import contextlib
import functools
import re
from typing import TYPE_CHECKING

from shop.kit import spans
from shop.kit.spans import NOT_RECORDED, Kind, Span

if TYPE_CHECKING:
    from shop.kit.spans import Attributes

MAX_KNOWN_STATEMENTS = 1_024
MAX_SUMMARY_CHARACTERS = 100
WRITE = re.compile(
    r"\b(INSERT)\s+INTO\s+(?:ONLY\s+)?(\w+)|\b(DELETE)\s+FROM\s+(?:ONLY\s+)?(\w+)"
    r"|(?<!FOR\s)(?<!DO\s)(?<!KEY\s)\b(UPDATE)\s+(?:ONLY\s+)?(\w+)",
    re.IGNORECASE,
)
READ = re.compile(r"\bFROM\s+(?:ONLY\s+)?(\w+)(?!\s*\(|\w)", re.IGNORECASE)
FIRST_WORD = re.compile(r"\s*(\w+)")


def statement(sql: str) -> contextlib.AbstractContextManager[Span | None]:
    """The span of one statement."""
    if not spans.recording():
        return NOT_RECORDED
    name, attributes = _described(sql)
    return spans.span(name, attributes, Kind.CLIENT)


@functools.lru_cache(maxsize=MAX_KNOWN_STATEMENTS)
def _described(sql: str) -> tuple[str, Attributes]:
    summary = summary_of(sql)
    attributes = {"db.system.name": "postgresql", "db.query.summary": summary}
    parts = summary.split()
    attributes["db.operation.name"] = parts[0]
    if len(parts) == 2:
        attributes["db.collection.name"] = parts[1]
    return summary, attributes


def summary_of(sql: str) -> str:
    """Operations with their tables in the statement's order, such as "INSERT orders INSERT outbox"."""
    found = [" ".join(part for part in match if part) for match in WRITE.findall(sql)]
    written = [part[: part.index(" ")].upper() + part[part.index(" ") :] for part in found]
    if written:
        return " ".join(dict.fromkeys(written))[:MAX_SUMMARY_CHARACTERS]
    table = READ.search(sql)
    if table:
        return f"SELECT {table[1]}"
    word = FIRST_WORD.match(sql)
    return word[1].upper() if word else "STATEMENT"


def command(name: str, count: int = 1) -> contextlib.AbstractContextManager[Span | None]:
    """The span of one command of Valkey, or of ``count`` that are sent together."""
    if not spans.recording():
        return NOT_RECORDED
    attributes: dict[str, str | int | float | bool] = {"db.system.name": "valkey", "db.operation.name": name}
    if count > 1:
        attributes["db.operation.batch.size"] = count
    return spans.span(name, attributes, Kind.CLIENT)
