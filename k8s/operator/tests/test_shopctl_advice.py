"""What shopctl advises is complete for the shop that it speaks of, and deleting asks first."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import shop.operator
from shop.devkit.testing import wait_until

SOURCE = Path(shop.operator.__path__[0])
ABOUT_ONE_SHOP = re.compile("shopctl (up|down|status|logs|stop|start|restart|open|audit|backup)\\b")
NOT_OF_A_FOLDER = {
    "Backup, or folder of backups, that a new shop begins with; `shopctl backup`.",
    "no shop.yaml here; name a Shop: `shopctl up SHOP.yaml`",
    "where to? `shopctl backup --to FOLDER`, or name a Shop in a cluster: `shopctl backup NAME`",
}
"""Said before it is known which shop is meant."""
ASK_TIMEOUT_S = 30.0


def texts(path: Path) -> Iterator[str]:
    """Every text of the file that is no docstring; what stands in braces is left out."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    bare = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    inner = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and not {id(node)} & (bare | inner):
            yield node.value
        elif isinstance(node, ast.JoinedStr):
            yield "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)  # type: ignore[misc]


LAPTOP = [*sorted(SOURCE.glob("*.py")), *sorted((SOURCE / "local").glob("*.py"))]


@pytest.mark.parametrize("path", LAPTOP, ids=lambda path: path.stem)
def test_a_command_that_is_advised_names_the_folder(path: Path) -> None:
    """`DataDir.command` writes it; what is put together otherwise has the folder behind each command."""
    for text in texts(path):
        if ABOUT_ONE_SHOP.search(text) and text not in NOT_OF_A_FOLDER:
            commands = ABOUT_ONE_SHOP.findall(text)
            assert text.count("{}") >= len(commands), text


async def asked(data: Path, answer: str) -> tuple[int, str]:
    """Exit code and question of `shopctl down --delete-data` at a terminal where ``answer`` is typed."""
    terminal, its_end = os.openpty()
    command = [sys.executable, "-m", "shop.operator.cli", "down", "--delete-data", "--data-dir", str(data)]
    process = subprocess.Popen(command, stdin=its_end, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    os.close(its_end)
    os.write(terminal, answer.encode())
    await wait_until(lambda: process.poll() is not None, ASK_TIMEOUT_S, "the end of shopctl")
    os.close(terminal)
    _, question = process.communicate()
    return process.returncode, question


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "my shop"
    folder.mkdir()
    (folder / "shop.json").write_text('{"format": 1, "name": "demo", "currency": "EUR"}')
    (folder / "lock").touch()
    return folder


@pytest.mark.parametrize("answer", ["n\n", "\n"])
async def test_deleting_asks_at_a_terminal_and_no_is_no(data: Path, answer: str) -> None:
    code, question = await asked(data, answer)
    assert code == 1
    assert f"Delete the shop demo and everything in {data} for good? [y/N]" in question
    assert (data / "shop.json").exists()


async def test_yes_deletes(data: Path) -> None:
    assert (await asked(data, "y\n"))[0] == 0
    assert not data.exists()
