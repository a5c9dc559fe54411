"""The rules file: read and checked at the start, with one line that names what is wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Self

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from shop.achievement.conditions import Condition, Measure
from shop.achievement.facts import Facts
from shop.contracts.achievement import MAX_ACHIEVEMENTS
from shop.kit.text import one_line

DEFAULT_FILE = Path(__file__).parent / "rules.yaml"
MAX_FILE_BYTES = 256 * 1024
MAX_XP = 10_000

Line = Annotated[str, AfterValidator(one_line)]


class RulesError(ValueError):
    """One line: which field of which rule is wrong, and why."""


class Rule(BaseModel):
    """An achievement: unlocked when ``when`` holds, or by a game server if it is ``external``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    code: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")]
    name: Annotated[Line, Field(min_length=1, max_length=60)]
    description: Annotated[Line, Field(min_length=1, max_length=200)]
    xp: Annotated[int, Field(strict=True, ge=0, le=MAX_XP)] = 0
    hidden: Annotated[bool, Field(strict=True)] = False
    external: Annotated[bool, Field(strict=True)] = False
    when: Condition | None = None

    @model_validator(mode="after")
    def _decided(self) -> Self:
        if self.external == (self.when is not None):
            raise ValueError("give either when or external: true")
        return self

    def measure(self, facts: Facts, currency: str) -> Measure | None:
        """How far a player is; None if a game server decides."""
        return self.when.measure(facts, currency) if self.when is not None else None


class RulesFile(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    rules: Annotated[tuple[Rule, ...], Field(max_length=MAX_ACHIEVEMENTS)]

    @model_validator(mode="after")
    def _unique(self) -> Self:
        codes = [rule.code for rule in self.rules]
        for number, code in enumerate(codes):
            if code in codes[:number]:
                raise ValueError(f"rules[{number}].code: {code} is the code of an earlier rule")
        return self


def load(source: str = "") -> Mapping[str, Rule]:
    """Rules by code, in the order of the file. ``source``: a file, or the text of one; empty: the shop's own file."""
    inline = "\n" in source or source.lstrip().startswith(("{", "rules:"))
    return parse(source if inline else _read(Path(source) if source else DEFAULT_FILE))


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RulesError(f"{file} cannot be read: {error}") from None


def parse(text: str) -> Mapping[str, Rule]:
    if len(text.encode()) > MAX_FILE_BYTES:
        raise RulesError(f"the rules are longer than {MAX_FILE_BYTES} bytes")
    try:
        document = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:
        raise RulesError(f"not YAML: {' '.join(str(error).split())}") from None
    try:
        return {rule.code: rule for rule in RulesFile.model_validate(document).rules}
    except ValidationError as error:
        raise RulesError(_first(error)) from None


def _first(error: ValidationError) -> str:
    found = error.errors(include_url=False)[0]
    reason = str(found["msg"]).removeprefix("Value error, ")
    path = _path(found["loc"])
    return " ".join(f"{path}: {reason}".split()) if path else reason


def _path(parts: Sequence[Any]) -> str:
    path = ""
    for part in parts:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else str(part)
    return path
