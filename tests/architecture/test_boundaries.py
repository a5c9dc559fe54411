"""What only one place may do: commit, publish, contain SQL, read the environment."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import pytest

from tests.architecture.source import Function, Module, kit_modules, service_modules, source_modules, walk

SQL = re.compile(
    r"\s*(SELECT\s|INSERT\s+INTO\s|UPDATE\s+\w+\s+(\w+\s+)?SET\s|DELETE\s+FROM\s|WITH\s+(RECURSIVE\s+)?\w+\s*(\(|AS\s)"
    r"|(CREATE|ALTER|DROP|TRUNCATE)\s+(TABLE|INDEX|TYPE|SCHEMA|DATABASE|ROLE)\s|LOCK\s+TABLE\s|COPY\s+\w+\s)"
)
TRANSACTION = re.compile(
    r"\s*(BEGIN|COMMIT|ROLLBACK|START\s+TRANSACTION|PREPARE\s+TRANSACTION)\b\s*(;|$|WORK|ISOLATION)"
)
DRIVERS = ("asyncpg", "psycopg", "psycopg2", "sqlalchemy", "yoyo")
STAND_INS = frozenset({"shop.payment simulator", "shop.notification mailbox"})
"""They simulate external systems that have a store of their own: a card processor and a mail server."""
SMALLEST_DUPLICATE_STATEMENTS = 5


def contains_sql(module: Module) -> list[str]:
    return [f"{module.name}:{line}" for line, text in module.strings() if SQL.match(text)]


def ends_transactions(module: Module) -> Iterator[str]:
    for call in module.calls():
        if isinstance(call.func, ast.Attribute) and call.func.attr in {"commit", "rollback"}:
            yield f"{module.name}:{call.lineno}"
    yield from (f"{module.name}:{line}" for line, text in module.strings() if TRANSACTION.match(text))


def module_in(folder: Path, text: str) -> Module:
    path = folder / "sample.py"
    path.write_text(text, encoding="utf-8")
    return Module(path, "shop.sample")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that counts as the project's root, for samples of what is not allowed."""
    monkeypatch.setattr("tests.architecture.source.ROOT", tmp_path)
    return tmp_path


def is_repository(module: Module) -> bool:
    """By its name, or for one of several that divide a service's tables, by the class in it."""
    classes = (node.name for node in module.nodes(ast.ClassDef))
    named = "repository" in module.path.stem or any(name.endswith("Repository") for name in classes)
    return named or f"{module.package} {module.path.stem}" in STAND_INS


def test_only_repositories_contain_sql() -> None:
    found = [place for module in service_modules() if not is_repository(module) for place in contains_sql(module)]
    assert not found, f"SQL belongs into repository.py: {found}"


def test_only_repositories_know_the_driver() -> None:
    found = {
        module.name: name
        for module in service_modules()
        if not is_repository(module)
        for name in module.imports()
        if name.split(".")[0] in DRIVERS
    }
    assert not found


@pytest.mark.parametrize(
    "statement",
    ["SELECT 1", "\n    WITH taken AS (SELECT 1) UPDATE x SET y = 1", "INSERT INTO t VALUES (1)", "UPDATE t SET a = 1"],
)
def test_sql_is_recognised(here: Path, statement: str) -> None:
    assert contains_sql(module_in(here, f"x = {statement!r}\ny = f{statement!r}")) == ["sample.py:1", "sample.py:2"]


@pytest.mark.parametrize("text", ["Select a country", "Update your address", "With a coupon", "Delete from my list?"])
def test_ordinary_text_is_not_sql(here: Path, text: str) -> None:
    assert contains_sql(module_in(here, f"x = {text!r}")) == []


def test_only_the_kit_ends_transactions() -> None:
    found = [place for module in service_modules() for place in ends_transactions(module)]
    assert not found, f"a use case runs inside Database.transaction(), which commits: {found}"


@pytest.mark.parametrize(
    "text", ["await db.commit()", "x.rollback()", "run('COMMIT')", "run('BEGIN ISOLATION LEVEL x')"]
)
def test_end_of_a_transaction_is_recognised(here: Path, text: str) -> None:
    assert list(ends_transactions(module_in(here, text))) == ["sample.py:1"]


def test_services_reach_the_broker_only_through_the_outbox() -> None:
    found = {m.name: name for m in service_modules() for name in m.imports() if name.split(".")[0] == "nats"}
    assert not found, f"publish through shop.kit.outbox, consume through shop.kit.inbox: {found}"


def publishes(module: Module) -> list[str]:
    """Calls that hand something to the broker; `outbox.publish` only writes a row."""
    return [
        f"{module.name}:{call.lineno}"
        for call in module.calls()
        if isinstance(call.func, ast.Attribute)
        and call.func.attr in {"publish", "publish_async"}
        and not (isinstance(call.func.value, ast.Name) and call.func.value.id == "outbox")
    ]


def test_only_the_relay_publishes() -> None:
    allowed = {"bus.py", "outbox.py"}
    found = [p for m in kit_modules() if m.path.name not in allowed for p in publishes(m)]
    found += [place for module in service_modules() for place in publishes(module)]
    assert not found, f"an event is a row of the outbox until the relay sends it: {found}"


def test_direct_publishing_is_recognised(here: Path) -> None:
    text = "await outbox.publish(connection, event)\nawait context.bus.publish('order.x', b'')"
    assert publishes(module_in(here, text)) == ["sample.py:2"]


def reads_environment(module: Module) -> list[str]:
    return [name for name in module.imports() if name in {"os.environ", "os.getenv"}] + [
        f"{module.name}:{node.lineno}"
        for node in module.nodes(ast.Attribute)
        if node.attr in {"environ", "getenv"} and isinstance(node.value, ast.Name) and node.value.id == "os"
    ]


def test_services_read_the_environment_only_in_settings() -> None:
    found = [place for module in service_modules() for place in reads_environment(module)]
    assert not found, f"make it a field of Settings: {found}"


def body_of(node: Function) -> list[ast.stmt]:
    """The function's statements without its name and docstring."""
    first = node.body[0]
    documented = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    return node.body[documented:]


def shape_of(node: Function) -> tuple[type[ast.AST], ...]:
    """The kinds of all nodes of the body: the same for the same code, and cheaper than its text."""
    return tuple(type(child) for statement in body_of(node) for child in walk(statement))


def text_of(node: Function) -> str:
    """The same for the same code."""
    return "\n".join(ast.dump(statement) for statement in body_of(node))


def statements_in(node: Function) -> int:
    return sum(issubclass(kind, ast.stmt) for kind in shape_of(node)) + len(node.body) - len(body_of(node))


def alike[Key](
    functions: Iterable[tuple[Module, Function]], key: Callable[[Function], Key]
) -> Iterator[list[tuple[Module, Function]]]:
    """Those of the same key that are in more than one package."""
    groups: defaultdict[Key, list[tuple[Module, Function]]] = defaultdict(list)
    for module, node in functions:
        groups[key(node)].append((module, node))
    return (group for group in groups.values() if len({module.package for module, _ in group}) > 1)


def test_no_mechanism_is_written_twice() -> None:
    long = (
        (module, node)
        for module in source_modules()
        for node in module.functions()
        if statements_in(node) >= SMALLEST_DUPLICATE_STATEMENTS
    )
    same = (group for of_one_shape in alike(long, shape_of) for group in alike(of_one_shape, text_of))
    twice = [[f"{module.name}:{node.lineno} {node.name}" for module, node in group] for group in same]
    assert not twice, f"the same code in two packages belongs into the kit: {twice}"


def test_the_kit_names_no_service() -> None:
    nouns = {module.noun for module in service_modules()}
    found = {m.name: name for m in kit_modules() for name in m.imports() if name.split(".")[:2][-1] in nouns}
    assert not found
