"""Output and error handling that all commands share."""

import os
import sys
from collections.abc import Callable, Sequence

from shop.devkit.processes import EmbeddedError
from shop.operator.errors import ShopctlError
from shop.operator.program import shopctl

GAP = "  "


def write(text: str) -> None:
    """Write to stdout and flush."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def note(text: str) -> None:
    """Write a note for people, not for scripts, to stderr."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def table(rows: Sequence[Sequence[str]], indent: str = "") -> str:
    """Rows of the same length in columns; the last column is not padded."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        (indent + GAP.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))).rstrip() for row in rows
    )


def describe(error: BaseException) -> str:
    """The text of an error; of the system's errors the file and the reason, without the number."""
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    return str(error)


def run(commands: Callable[..., object], name: str) -> None:
    """Run the command line; an error that the user can fix is one line on stderr and code 1."""
    try:
        commands(prog_name=shopctl())
    except (ShopctlError, EmbeddedError, OSError) as error:
        if isinstance(error, BrokenPipeError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)
        for line in describe(error).splitlines() or [type(error).__name__]:
            note(f"{name}: {line}")
        sys.exit(1)
