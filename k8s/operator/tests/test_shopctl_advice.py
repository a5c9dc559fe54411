"""Commands that shopctl advises name the shop's folder, and deleting asks for confirmation."""

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
from shop.operator.program import CHECKOUT, shopctl

SOURCE = Path(shop.operator.__path__[0])
COMMANDS = "up|down|status|logs|stop|start|restart|open|audit|backup|plan|suspend|resume|retry"
FIXED_PROGRAM = re.compile(rf"shopctl ({COMMANDS})\b")
NAME_OF_THE_CONNECTION = "shopctl audit"
ABOUT_ONE_SHOP = re.compile(rf"{{}} ({COMMANDS})\b")
NOT_OF_A_FOLDER = {
    "no shop.yaml here; name a Shop: `{} up SHOP.yaml`",
    "where to? `{} backup --to FOLDER`, or `{} backup NAME` for a Shop in a cluster",
}
"""Printed before a shop is chosen."""
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
        if text not in NOT_OF_A_FOLDER:
            assert text.count("{}") >= 2 * len(ABOUT_ONE_SHOP.findall(text)), text


@pytest.mark.parametrize("path", sorted(SOURCE.rglob("*.py")), ids=lambda path: path.stem)
def test_advice_calls_the_program_as_it_was_called(path: Path) -> None:
    """`program.shopctl` says how: a text with the plain name ends in "command not found" in a checkout."""
    assert not [text for text in texts(path) if FIXED_PROGRAM.search(text) and text != NAME_OF_THE_CONNECTION]


def bare_shell(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """``command`` as typed in ``folder``, where neither uv nor the project's environment is on the PATH."""
    environment = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"} | {
        "PATH": "/usr/bin:/bin"
    }
    return subprocess.run(
        command,
        shell=True,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=ASK_TIMEOUT_S,
    )


@pytest.mark.parametrize("is_checkout", [True, False], ids=["in the checkout", "elsewhere"])
def test_advice_works_as_printed(is_checkout: bool, tmp_path: Path) -> None:
    folder, script = (CHECKOUT, "./shopctl") if is_checkout else (tmp_path, str(CHECKOUT / "shopctl"))
    refused = bare_shell(f"{script} status --data-dir {tmp_path}", folder)
    assert refused.returncode == 1
    [advised] = re.findall(r"`(.*?)`", refused.stderr)
    assert advised == f"{script} up --data-dir {tmp_path}"
    tried = bare_shell(f"{advised} --help", folder)
    assert tried.returncode == 0, tried.stderr
    assert f"Usage: {script} up" in tried.stdout


def test_the_script_is_found_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "shopctl").symlink_to(CHECKOUT / "shopctl")
    done = bare_shell("./shopctl --version", tmp_path)
    assert re.fullmatch(r"shopctl [0-9.]+\n", done.stdout), done.stderr


def test_the_script_says_how_to_install(tmp_path: Path) -> None:
    script = tmp_path / "shopctl"
    script.write_bytes((CHECKOUT / "shopctl").read_bytes())
    script.chmod(0o755)
    done = bare_shell("./shopctl status", tmp_path)
    assert done.returncode == 1
    assert done.stderr == f"shopctl: not installed in {tmp_path.resolve()}; `make up` there installs it\n"


def test_an_installed_package_is_called_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert shopctl(tmp_path) == "shopctl"
    monkeypatch.setattr(sys, "argv", ["/usr/local/bin/kubectl-shop"])
    assert shopctl(tmp_path) == "kubectl shop"


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
