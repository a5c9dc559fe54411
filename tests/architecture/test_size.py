"""Files and functions stay small enough to read at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.architecture.source import Module, all_modules, package_folder, service_nouns

MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 70
MAX_MAIN_LINES = 25


def long_functions(module: Module) -> list[str]:
    lengths = ((node, (node.end_lineno or node.lineno) - node.lineno + 1) for node in module.functions())
    return [f"{module.name}:{node.lineno} {node.name}: {n}" for node, n in lengths if n > MAX_FUNCTION_LINES]


def test_no_file_is_too_long() -> None:
    lengths = {module.name: len(module.text.splitlines()) for module in all_modules()}
    too_long = {name: lines for name, lines in lengths.items() if lines > MAX_FILE_LINES}
    assert not too_long, f"split by use case: {too_long}"


def test_no_function_is_too_long() -> None:
    too_long = [line for module in all_modules() for line in long_functions(module)]
    assert not too_long, f"split: {too_long}"


def test_long_function_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.architecture.source.ROOT", tmp_path)
    path = tmp_path / "long.py"
    path.write_text("def short(): ...\nasync def long():\n" + "    pass\n" * MAX_FUNCTION_LINES, encoding="utf-8")
    assert long_functions(Module(path, "")) == [f"long.py:2 long: {MAX_FUNCTION_LINES + 1}"]


@pytest.mark.parametrize("noun", service_nouns())
def test_main_only_puts_the_service_together(noun: str) -> None:
    main = package_folder(noun) / "main.py"
    assert len(main.read_text(encoding="utf-8").splitlines()) <= MAX_MAIN_LINES
