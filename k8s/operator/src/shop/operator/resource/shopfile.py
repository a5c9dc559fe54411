"""Read a Shop from YAML, and say about a wrong one where and why: `shop.yaml:12: spec.store.currency: must be ...`."""

import difflib
from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from shop.operator.errors import ShopctlError
from shop.operator.resource.spec import API_VERSION, KIND, Metadata, Shop, ShopSpec

try:
    from yaml import CSafeLoader as _Loader
except ImportError:  # a PyYAML built without libyaml reads the same, slower
    from yaml import SafeLoader as _Loader  # type: ignore[assignment]

MAX_FILE_BYTES = 1_000_000
MAX_PROBLEMS = 20
MAX_SHOWN_VALUE = 60

Location = tuple[int | str, ...]


class InvalidShop(ShopctlError):
    """What is wrong with a Shop, one sentence with its place per problem."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = list(problems)


class _StrictLoader(_Loader):
    """YAML's safe types, without the silent loss of a key that is written twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: set[Hashable] = set()
        for key_node, _ in node.value:
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} is written twice", key_node.start_mark
                )
            seen.add(key)
        return super().construct_mapping(node, deep)


def load(path: Path) -> Shop:
    """The Shop in the file; raises `InvalidShop` with every problem found, up to `MAX_PROBLEMS`."""
    try:
        content = path.read_bytes()[: MAX_FILE_BYTES + 1]
    except OSError as error:
        raise InvalidShop([f"{path}: {error.strerror or error}"]) from error
    if len(content) > MAX_FILE_BYTES:
        raise InvalidShop([f"{path}: larger than {MAX_FILE_BYTES:,} bytes"])
    return parse(content, str(path))


def parse(content: bytes, source: str) -> Shop:
    """The Shop in `content`; `source` names it in messages."""
    node, data = _read(content, source)
    if not isinstance(data, dict):
        raise InvalidShop([f"{source}: holds no Shop; it must begin with apiVersion: {API_VERSION}"])
    try:
        return Shop.model_validate(data)
    except ValidationError as error:
        details = error.errors(include_url=False)
        problems = [f"{source}:{_line(node, detail['loc'])}: {describe(detail)}" for detail in details]
        raise InvalidShop(problems[:MAX_PROBLEMS]) from error


def _read(content: bytes, source: str) -> tuple[yaml.Node | None, Any]:
    loader = None
    try:
        loader = _StrictLoader(content.decode())
        node = loader.get_single_node()
        return node, loader.construct_document(node) if node else None
    except UnicodeDecodeError as error:
        raise InvalidShop([f"{source}: is not UTF-8 (byte {error.start})"]) from error
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{source}:{mark.line + 1}" if mark else source
        raise InvalidShop([f"{place}: {_yaml_problem(error)}"]) from error
    except (yaml.YAMLError, ValueError, TypeError) as error:
        raise InvalidShop([f"{source}: is not valid YAML: {' '.join(str(error).split())}"]) from error
    finally:
        if loader is not None:
            loader.dispose()


def _yaml_problem(error: yaml.MarkedYAMLError) -> str:
    if error.problem and "but found another document" in error.problem:
        return "holds a second document; one file is one Shop"
    if error.problem and "written twice" in error.problem:
        return error.problem
    return f"is not valid YAML: {error.problem or error.context}"


def _line(node: yaml.Node | None, location: Location) -> int:
    """The line of the deepest part of `location` that is written in the file; 1 when none is."""
    line = 1
    for step in location:
        found = _child(node, step)
        if found is None:
            break
        line, node = found
    return line


def _child(node: yaml.Node | None, step: int | str) -> tuple[int, yaml.Node] | None:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == str(step):
                return key.start_mark.line + 1, value
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        return node.value[step].start_mark.line + 1, node.value[step]
    return None


def describe(detail: ErrorDetails) -> str:
    """One error of the Shop's model: the field and why its value is not possible."""
    location = tuple(step for step in detail["loc"] if step != "[key]")
    return f"{field_path(location)}: {_reason(detail, location)}"


def field_path(location: Location) -> str:
    """`("spec", "taxes", 0, "country")` as `spec.taxes[0].country`."""
    path = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in location)
    return path.removeprefix(".")


def _reason(detail: ErrorDetails, location: Location) -> str:
    kind, context, value = detail["type"], detail.get("ctx", {}), detail["input"]
    if kind == "extra_forbidden":
        return "unknown field" + _suggestion(location)
    if kind == "missing":
        return "is required"
    if kind == "value_error":
        return _with_value(str(context["error"]), value)
    if kind == "literal_error":
        return _with_value(f"must be {_one_of(context['expected'], location)}", value)
    if kind == "string_type" and isinstance(value, bool):
        return 'must be text; write it in quotes ("NO"), or YAML reads it as true or false'
    plain = _PLAIN.get(kind)
    return _with_value(plain.format(**context), value) if plain else detail["msg"]


_PLAIN = {
    "string_type": "must be text",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "bool_type": "must be true or false",
    "float_type": "must be a number",
    "dict_type": "must be a mapping of names to values",
    "model_type": "must be a mapping of fields",
    "model_attributes_type": "must be a mapping of fields",
    "tuple_type": "must be a list",
    "list_type": "must be a list",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "string_too_short": "must not be empty",
    "string_too_long": "must be at most {max_length} characters long",
    "too_long": "must have at most {max_length} entries",
    "decimal_max_places": "must have at most {decimal_places} decimal places",
    "finite_number": "must be a finite number",
}


def _with_value(message: str, value: Any) -> str:
    if value is None or isinstance(value, str | int | float):
        shown = "nothing" if value is None else repr(value)
        return f"{message}, not {shown if len(shown) <= MAX_SHOWN_VALUE else shown[:MAX_SHOWN_VALUE] + '...'}"
    return message


def _one_of(expected: str, location: Location) -> str:
    if location == ("apiVersion",):
        return API_VERSION
    if location == ("kind",):
        return KIND
    return expected.replace("'", "")


def _suggestion(location: Location) -> str:
    known = _fields_at(location[:-1])
    close = difflib.get_close_matches(str(location[-1]), known, n=1)
    if close:
        return f"; did you mean {close[0]}?"
    return f"; known here: {', '.join(sorted(known))}" if known else ""


def _fields_at(location: Location) -> list[str]:
    """The YAML names of the fields of the model at `location`."""
    model: type[BaseModel] | None = Shop
    for step in location:
        if isinstance(step, int) or model is None:
            continue
        by_alias = {field.alias or name: field.annotation for name, field in model.model_fields.items()}
        model = _model_in(by_alias.get(str(step))) if str(step) in by_alias else model
    return [field.alias or name for name, field in model.model_fields.items()] if model else []


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    inner = (_model_in(argument) for argument in getattr(annotation, "__args__", ()))
    return next((model for model in inner if model is not None), None)


__all__ = ["InvalidShop", "Metadata", "ShopSpec", "describe", "field_path", "load", "parse"]
