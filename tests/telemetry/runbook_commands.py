"""The commands of the runbooks, with names filled in for the labels of an alert."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass

from observability.dashboards import pages

PLACEHOLDERS = {
    "CERTIFICATE": "books-tls", "CLAIM": "data-books-postgres-0", "HOST": "127.0.0.1", "NAME": "books-tls",
    "NAMESPACE": "market", "NODE": "node-1", "SERVICE": "order", "SHOP": "books", "UPSTREAM": "product",
}  # fmt: skip
IN_A_LINE = re.compile(r"`((?:kubectl|\./shopctl) [^`]*\b(?:NAMESPACE|SHOP)\b[^`]*)`")
BLOCK = "    "
SILENCE = "amtool "


@dataclass(frozen=True)
class Command:
    """One of the runbook of `alert`; `program` is what comes before the first pipe, `filters` the rest."""

    alert: str
    text: str

    @property
    def program(self) -> str:
        return self._parts()[0]

    @property
    def filters(self) -> str:
        """With the pipes between them; "" for none."""
        return self._parts()[1]

    def _parts(self) -> tuple[str, str]:
        """A pipe within quotes is part of an argument."""
        outside = re.sub(r"'[^']*'|\"[^\"]*\"", lambda found: "_" * len(found[0]), self.text)
        end = outside.find(" | ")
        return (self.text, "") if end < 0 else (self.text[:end], self.text[end + 3 :])


def of_all() -> Iterator[Command]:
    for alert in pages.names():
        text = pages.text(alert)
        lines = [line.strip() for line in text.splitlines() if line.startswith(BLOCK)]
        for line in (*lines, *IN_A_LINE.findall(text)):
            if not line.startswith(SILENCE):
                yield Command(alert, line)


def filled(text: str, **names: str) -> str:
    """The command with `names`, or those of `PLACEHOLDERS`, instead of the words in capitals."""
    for word, name in (PLACEHOLDERS | names).items():
        text = re.sub(rf"(?<![A-Za-z]){word}(?![A-Za-z.])", name, text)
    return text


def local_arguments(program: str) -> list[str]:
    """Of a command of shopctl, for the shop on this machine: without the Shop's name."""
    arguments = shlex.split(program.removeprefix("./shopctl "))
    kept = [one for one in arguments if one not in ("-n", "NAMESPACE", "SHOP")]
    return [filled(one) for one in kept] + (["--json"] if kept[0] == "logs" else [])


def statement(program: str) -> tuple[str, str] | None:
    """The database and the SQL of a command that calls psql in a pod; None for others."""
    arguments = shlex.split(filled(program))
    if "psql" not in arguments or "-c" not in arguments:
        return None
    options = arguments[arguments.index("psql") + 1 :]
    database = next((one for one in options if one.startswith("shop_")), "shop_order")
    return database, options[options.index("-c") + 1]
