"""The source of the project as the architecture tests read it: files, syntax trees, packages."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
SERVICES_FOLDER = ROOT / "services"
IMAGE_LIBRARIES = ("contracts", "covers", "games", "town", "kit")
"""What every service's image holds besides the service."""
LIBRARIES = (*IMAGE_LIBRARIES, "devkit")
TEST_FOLDER = "tests"
GENERATED = re.compile(r"_pb2(_grpc)?\.py$")
"""protoc's files, whose form is not ours."""
Function = ast.FunctionDef | ast.AsyncFunctionDef
KEPT = (
    ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Call, ast.Attribute, ast.Import, ast.ImportFrom,
    ast.Constant, ast.Expr,
)  # fmt: skip
"""Kinds of nodes that the rules ask for."""


@dataclass(frozen=True)
class Module:
    """One Python file; ``package`` is "shop.order" in its source folder and "" in a test or a script."""

    path: Path
    package: str

    @property
    def name(self) -> str:
        """The path from the project's root, as an error message shows it."""
        return self.path.relative_to(ROOT).as_posix()

    @property
    def noun(self) -> str:
        return self.package.rpartition(".")[2]

    @property
    def text(self) -> str:
        return _text(self.path)

    def nodes[Node: ast.AST](self, kind: type[Node]) -> Iterator[Node]:
        """The nodes of a kind, which is one of `KEPT`."""
        return (node for node in _nodes(self.path)[kind] if isinstance(node, kind))

    def functions(self) -> Iterator[Function]:
        yield from self.nodes(ast.FunctionDef)
        yield from self.nodes(ast.AsyncFunctionDef)

    def calls(self) -> Iterator[ast.Call]:
        return self.nodes(ast.Call)

    def imports(self) -> Iterator[str]:
        """Every imported module, dotted; `from a import b` gives both a and a.b."""
        for node in self.nodes(ast.Import):
            yield from (alias.name for alias in node.names)
        for found in self.nodes(ast.ImportFrom):
            if found.module:
                yield found.module
                yield from (f"{found.module}.{alias.name}" for alias in found.names)

    def strings(self) -> Iterator[tuple[int, str]]:
        """Line and text of every string literal but the docstrings; of an f-string its fixed beginning."""
        documentation = {id(node.value) for node in self.nodes(ast.Expr)}
        for node in self.nodes(ast.Constant):
            if isinstance(node.value, str) and id(node) not in documentation:
                yield node.lineno, node.value


@cache
def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8")


@cache
def _nodes(path: Path) -> Mapping[type[ast.AST], list[ast.AST]]:
    """Of the file's syntax tree, by kind: many rules look at a tree, which takes seconds for those of all files."""
    kept: dict[type[ast.AST], list[ast.AST]] = {kind: [] for kind in KEPT}
    for node in walk(ast.parse(_text(path), filename=str(path))):
        if type(node) in kept:
            kept[type(node)].append(node)
    return kept


def walk(root: ast.AST) -> list[ast.AST]:
    """The same nodes in the same order as by ast.walk, which takes longer: it makes an iterator for each node."""
    found = [root]
    for node in found:
        for name in node._fields:
            value = getattr(node, name, None)
            if isinstance(value, list):
                found += [one for one in value if isinstance(one, ast.AST)]
            elif isinstance(value, ast.AST):
                found.append(value)
    return found


@cache
def service_nouns() -> tuple[str, ...]:
    """The noun of every service, from the folders."""
    folders = (path.parent for path in SERVICES_FOLDER.glob("*/pyproject.toml"))
    return tuple(sorted(folder.name for folder in folders if folder.name not in LIBRARIES))


def service_folder(noun: str) -> Path:
    return SERVICES_FOLDER / noun


def package_folder(noun: str) -> Path:
    return SERVICES_FOLDER / noun / "src" / "shop" / noun


@cache
def source_modules() -> tuple[Module, ...]:
    """Every module of every package in the workspace."""
    roots = [*SERVICES_FOLDER.glob("*/src/shop/*"), *(ROOT / "k8s").glob("*/src/shop/*")]
    found = ((path, f"shop.{root.name}") for root in roots for path in root.rglob("*.py"))
    return tuple(Module(path, package) for path, package in sorted(found) if not GENERATED.search(path.name))


@cache
def service_modules() -> tuple[Module, ...]:
    return tuple(module for module in source_modules() if module.noun in service_nouns())


@cache
def kit_modules() -> tuple[Module, ...]:
    return tuple(module for module in source_modules() if module.noun == "kit")


@cache
def all_modules() -> tuple[Module, ...]:
    """Sources, tests and scripts."""
    tests = [*SERVICES_FOLDER.glob(f"*/{TEST_FOLDER}"), *(ROOT / "k8s").glob(f"*/{TEST_FOLDER}"), ROOT / TEST_FOLDER]
    return source_modules() + tuple(Module(path, "") for root in tests for path in sorted(root.rglob("*.py")))
