"""docs/tutorial.md does what it says: its blocks run in one bash, in a shop that runs, and print what it shows."""

from __future__ import annotations

import doctest
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.architecture.source import ROOT
from tests.conftest import RunningShop

DOCUMENT = ROOT / "docs" / "tutorial.md"
BLOCK = re.compile(r"^```(sh|text)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
IN_DOCUMENT = "http://localhost:8080"
"""The shop of the document; that of the test is elsewhere."""
END = "end of the block"
LIMIT_S = 300
SHOWN = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
"""How the document abbreviates outputs."""


@dataclass
class Block:
    """Commands, and the output that the document shows for them; "" where it shows none."""

    commands: str
    output: str = ""


def blocks(text: str) -> list[Block]:
    """What a reader pastes; a block of text belongs to the commands before it."""
    found: list[Block] = []
    for kind, content in BLOCK.findall(text):
        if kind == "sh":
            found.append(Block(content))
        else:
            found[-1].output = content
    return found


def wrong(block: Block, printed: str) -> str:
    """What differs between the document and what was printed; "" if nothing does."""
    if not block.output or doctest.OutputChecker().check_output(block.output, printed, SHOWN):
        return ""
    return f"{block.commands}shown:\n{block.output}printed:\n{printed}"


@pytest.mark.shop
def test_the_tutorial_can_be_followed(shop: RunningShop, tmp_path: Path) -> None:
    (tmp_path / "shopctl").symlink_to(ROOT / "shopctl")
    (tmp_path / ".shop").symlink_to(shop.local.data_dir)
    followed = blocks(DOCUMENT.read_text(encoding="utf-8").replace(IN_DOCUMENT, shop.url))
    script = "".join(f"{block.commands}echo '{END}'\n" for block in followed)
    command = ["timeout", "--kill-after=5", str(LIMIT_S), "bash", "-e", "-c", script]
    try:
        done = subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, check=False,
            env={**os.environ, "NO_COLOR": "1", "COLUMNS": "200"},
        )  # fmt: skip
    finally:
        shop.start("nats")
    printed = done.stdout.split(f"{END}\n")
    assert not [found for block, text in zip(followed, printed, strict=False) if (found := wrong(block, text))]
    assert done.returncode == 0, (done.stdout[-2000:], done.stderr[-2000:])
    assert len(printed) == len(followed) + 1
    assert shop.healthy()


def test_what_is_compared_is_what_a_reader_sees() -> None:
    text = "```sh\nstate\n```\n\nwords\n\n```text\nconfirmed ...\n```\n\n```sh\nbuy\n```\n"
    first, second = blocks(text)
    assert (first.commands, first.output, second.output) == ("state\n", "confirmed ...\n", "")
    assert wrong(first, "confirmed   at noon\n") == ""
    assert "pending" in wrong(first, "pending\n")
    assert wrong(second, "anything\n") == ""
