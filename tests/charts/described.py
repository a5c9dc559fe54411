"""The comments of a values.yaml, from which the README's table and the schema's descriptions are generated."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

KEY = re.compile(r"^( *)([A-Za-z][\w-]*):")
COMMENT = re.compile(r"^ *# -- (.*)$")
CONTINUED = re.compile(r"^ *# (?!-- )(.*)$")
INDENT = 2


@dataclass(frozen=True)
class Value:
    """One described value: its dotted path, its comment, and its default."""

    path: str
    text: str
    default: Any


def values(chart: Path) -> list[Value]:
    """The described values of `chart` in the order of its values.yaml."""
    source = (chart / "values.yaml").read_text(encoding="utf-8")
    defaults = loaded(source)
    return [Value(".".join(path), text, _at(defaults, path)) for path, text in _comments(source)]


@cache
def loaded(source: str) -> Any:
    """What the YAML in `source` holds. Not to be changed by the caller."""
    return yaml.load(source, Loader=yaml.CSafeLoader)


def _comments(source: str) -> Iterator[tuple[list[str], str]]:
    path: list[str] = []
    comment = ""
    for line in source.splitlines():
        if found := COMMENT.match(line):
            comment = found[1]
        elif comment and (found := CONTINUED.match(line)):
            comment = f"{comment} {found[1]}"
        elif key := KEY.match(line):
            path = [*path[: len(key[1]) // INDENT], key[2]]
            if comment:
                yield path, comment
            comment = ""


def _at(tree: Any, path: list[str]) -> Any:
    for step in path:
        tree = tree[step]
    return tree


def undescribed(chart: Path) -> list[str]:
    """The paths of values without a comment, on them or on a parent."""
    described = {value.path for value in values(chart)}
    tree = loaded((chart / "values.yaml").read_text(encoding="utf-8"))
    return [path for path in _leaves(tree, "") if not any(path == d or path.startswith(f"{d}.") for d in described)]


def _leaves(tree: Any, path: str) -> Iterator[str]:
    if isinstance(tree, dict) and tree:
        for name, part in tree.items():
            yield from _leaves(part, f"{path}.{name}" if path else name)
    else:
        yield path


def table(chart: Path) -> str:
    """The table of a chart's README."""
    lines = ["| value | default | meaning |", "|---|---|---|"]
    for value in values(chart):
        default = json.dumps(value.default, ensure_ascii=False).replace("|", "\\|")
        lines.append(f"| `{value.path}` | `{default}` | {value.text.replace('|', '\\|')} |")
    return "\n".join(lines) + "\n"


BEGIN, END = "<!-- values: begin -->\n", "<!-- values: end -->\n"


def readme(chart: Path) -> str:
    """The chart's README with its table generated from values.yaml."""
    text = (chart / "README.md").read_text(encoding="utf-8")
    head, _, rest = text.partition(BEGIN)
    _, _, tail = rest.partition(END)
    return f"{head}{BEGIN}\n{table(chart)}\n{END}{tail}"


def schema(chart: Path) -> str:
    """The chart's schema with the descriptions of values.yaml and, where it has services, the values of each."""
    written = _schema(chart)
    if "services" in written["properties"]:
        _add_services(written, chart)
    for value in values(chart):
        place = written
        for step in value.path.split("."):
            place = place["properties"][step]
        place.pop("description", None)
        place["description"] = value.text
    return json.dumps(written, indent=2, ensure_ascii=False) + "\n"


def _add_services(written: Any, chart: Path) -> None:
    """Each of the `services` in values.yaml takes the values of charts/service, except `global` and `noun`."""
    one = _schema(chart.parent / "service")
    services = loaded((chart / "values.yaml").read_text(encoding="utf-8"))["services"]
    properties = {name: part for name, part in one["properties"].items() if name not in ("global", "noun")}
    service = {"type": "object", "additionalProperties": False, "properties": properties}
    written["definitions"] = {**written["definitions"], **one["definitions"], "service": service}
    written["properties"]["services"]["properties"] = {noun: {"$ref": "#/definitions/service"} for noun in services}
    with_database = [noun for noun, given in services.items() if "SHOP_DATABASE_URL" in given["secretEnv"]]
    secrets = written["properties"]["global"]["properties"]["secrets"]["properties"]
    secrets["database"]["properties"] = {noun: {"$ref": "#/definitions/name"} for noun in with_database}


def _schema(chart: Path) -> Any:
    return json.loads((chart / "values.schema.json").read_text(encoding="utf-8"))
