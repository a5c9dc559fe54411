"""docs/tutorial.md does what it says: its blocks run in one bash, in a shop that runs, and print what it shows."""

from __future__ import annotations

import doctest
import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import httpx
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


def about_traces(shop: RunningShop) -> list[str]:
    """The newest traces, and what became of the spans that services sent and of those that were received."""
    with httpx.Client(base_url=shop.url) as client:
        about = {"email": shop.admin_email, "password": shop.admin_password}
        token = client.post("/api/v1/tokens", json=about).json()["access_token"]
        traces = client.get("/api/v1/traces?name=POST&limit=20", headers={"Authorization": f"Bearer {token}"}).json()
        found = [f"{one['name']} {one['order_id']} {one['services']}" for one in traces["items"]]
        for one in shop.local.status()["components"]:
            found.append(f"{one['name']}: {one['pid']} {one['restarts']} restarts, healthy {one['healthy']}")
            if one["kind"] == "service":
                metrics = client.get(f"http://127.0.0.1:{one['port']}/metrics").text
                found += [line for line in metrics.splitlines() if line.startswith(("shop_ops_", "shop_spans"))]
    return found


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
        shop.local.start("nats")
    printed = done.stdout.split(f"{END}\n")
    differs = [found for block, text in zip(followed, printed, strict=False) if (found := wrong(block, text))]
    ended_well = done.returncode == 0 and not differs
    assert ended_well, "\n".join([*differs, done.stdout[-2000:], done.stderr[-2000:], *about_traces(shop)])
    assert len(printed) == len(followed) + 1
    assert shop.healthy()


def test_what_is_compared_is_what_a_reader_sees() -> None:
    text = "```sh\nstate\n```\n\nwords\n\n```text\nconfirmed ...\n```\n\n```sh\nbuy\n```\n"
    first, second = blocks(text)
    assert (first.commands, first.output, second.output) == ("state\n", "confirmed ...\n", "")
    assert wrong(first, "confirmed   at noon\n") == ""
    assert "pending" in wrong(first, "pending\n")
    assert wrong(second, "anything\n") == ""
