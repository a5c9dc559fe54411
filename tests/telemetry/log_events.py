"""The log events that the source names, found in its syntax."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

LOG_METHODS = frozenset({"debug", "info", "warning", "error", "exception", "critical", "log"})
UNNAMED = ""
COMPUTED = "*"


@dataclass(frozen=True)
class LogCall:
    """One call that writes a line; ``event`` is UNNAMED without a name, and has COMPUTED for a part that varies."""

    path: Path
    line: int
    event: str
    level: str


def log_calls(path: Path) -> Iterator[LogCall]:
    text = path.read_text(encoding="utf-8")
    if "log." not in text and "decision" not in text:
        return
    for node in ast.walk(ast.parse(text)):
        if not isinstance(node, ast.Call):
            continue
        if isinstance(node.func, ast.Name) and node.func.id == "decision":
            yield LogCall(path, node.lineno, _text(node.args[1]), _decision_level(node))
        elif _is_log_method(node.func):
            assert isinstance(node.func, ast.Attribute)
            yield LogCall(path, node.lineno, _event(node), node.func.attr)


def _is_log_method(function: ast.expr) -> bool:
    return (
        isinstance(function, ast.Attribute)
        and function.attr in LOG_METHODS
        and isinstance(function.value, ast.Name)
        and function.value.id == "log"
    )


def _event(call: ast.Call) -> str:
    extra = next((one.value for one in call.keywords if one.arg == "extra"), None)
    if not isinstance(extra, ast.Dict):
        return COMPUTED if extra is not None else UNNAMED
    for key, value in zip(extra.keys, extra.values, strict=True):
        if isinstance(key, ast.Constant) and key.value == "event":
            return _text(value)
    return UNNAMED


def _text(node: ast.expr) -> str:
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else COMPUTED for part in node.values)
    return COMPUTED


def _decision_level(call: ast.Call) -> str:
    level = next((one.value for one in call.keywords if one.arg == "level"), None)
    return level.attr.lower() if isinstance(level, ast.Attribute) else "info"
