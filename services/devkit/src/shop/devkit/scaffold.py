"""Write a new service that works: ``python -m shop.devkit.scaffold loyalty``, or ``make new-service NAME=loyalty``.

The new service has an API, a table, a consumer and tests, all small and all real, to be changed into what is wanted.
"""

from __future__ import annotations

import argparse
import keyword
import re
import shutil
import sys
from pathlib import Path

FILES = Path(__file__).with_name("scaffold_files")
SUFFIX = ".tmpl"
NAME = re.compile(r"[a-z][a-z0-9]{1,30}")
RESERVED = frozenset({"kit", "devkit", "contracts", "operator", "tests", "test", "shop"})
ANCHOR = "storefront"
"""The service beside which a new one is entered in the workspace's pyproject.toml."""

NEXT_STEPS = """services/{noun} is written and entered in pyproject.toml. Its tests: uv run pytest services/{noun}
By hand, where the shop is put together:
  - shop.gateway: "{plural}": "{noun}" in routing.API, and {noun}_url in its Settings
  - shop.operator: "{noun}" in local.plan (what runs, what has a database) and in spec.Noun
  - events that it publishes: classes in shop.contracts.events, then `make schemas`
  - `make diagram`, for docs/architecture.md"""


class ScaffoldError(ValueError):
    """The service cannot be written; the message is one sentence for a person."""


def plural_of(noun: str) -> str:
    """English plural, good enough for a path."""
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return f"{noun[:-1]}ies"
    return f"{noun}es" if noun.endswith(("s", "x", "ch", "sh")) else f"{noun}s"


def generate(root: Path, noun: str, plural: str = "") -> Path:
    """Write services/<noun> below ``root`` and enter it in the workspace; the new folder. ScaffoldError otherwise."""
    _check(root, noun)
    words = {"noun": noun, "Noun": noun.capitalize(), "plural": plural or plural_of(noun)}
    workspace = root / "pyproject.toml"
    entered = enter(workspace.read_text(encoding="utf-8"), noun)
    folder = root / "services" / noun
    unfinished = folder.with_name(f".{noun}.new")
    shutil.rmtree(unfinished, ignore_errors=True)
    for template in sorted(FILES.rglob(f"*{SUFFIX}")):
        target = unfinished / _place(template.relative_to(FILES), words)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(_fill(template.read_text(encoding="utf-8"), words), encoding="utf-8")
    unfinished.rename(folder)
    workspace.write_text(entered, encoding="utf-8")
    return folder


def enter(text: str, noun: str) -> str:
    """The workspace's pyproject.toml with the service ``noun`` in every list that names its services."""
    changes = (
        (f'    "shop-{ANCHOR}",\n', f'    "shop-{noun}",\n'),
        (f"shop-{ANCHOR} = {{ workspace = true }}\n", f"shop-{noun} = {{ workspace = true }}\n"),
        (f":services/{ANCHOR}/src", f":services/{noun}/src"),
        (f'"shop.{ANCHOR}",', f' "shop.{noun}",'),
        (f" | shop.{ANCHOR}", f" | shop.{noun}"),
    )
    for anchor, addition in changes:
        if anchor not in text:
            raise ScaffoldError(f"pyproject.toml has no {anchor.strip()!r} to enter {noun} after")
        text = text.replace(anchor, anchor + addition)
    return text


def _check(root: Path, noun: str) -> None:
    if not NAME.fullmatch(noun) or keyword.iskeyword(noun) or noun in RESERVED:
        raise ScaffoldError(f"{noun!r} cannot name a service: one lower-case word, 2 to 31 letters, such as loyalty")
    if not (root / "services").is_dir() or not (root / "pyproject.toml").is_file():
        raise ScaffoldError(f"{root} is not the project's root: it has no services and no pyproject.toml")
    if (root / "services" / noun).exists():
        raise ScaffoldError(f"services/{noun} is there already")


def _place(template: Path, words: dict[str, str]) -> Path:
    """src and migrations lie in the package, everything else beside it."""
    name = _fill(template.as_posix().removesuffix(SUFFIX), words)
    top, _, rest = name.partition("/")
    package = Path("src") / "shop" / words["noun"]
    return {"src": package / rest, "migrations": package / name}.get(top, Path(name))


def _fill(text: str, words: dict[str, str]) -> str:
    for word, value in words.items():
        text = text.replace(f"{{{{{word}}}}}", value)
    return text


def main() -> None:
    """Write the service named on the command line into the project of the present folder."""
    parser = argparse.ArgumentParser(
        prog="shop.devkit.scaffold", description=__doc__.splitlines()[0] if __doc__ else ""
    )
    parser.add_argument("noun", help="the service's noun, for example loyalty")
    parser.add_argument("--plural", default="", help="for its path, where English is irregular")
    arguments = parser.parse_args()
    try:
        generate(Path.cwd(), arguments.noun, arguments.plural)
    except ScaffoldError as error:
        sys.exit(str(error))
    print(NEXT_STEPS.format(noun=arguments.noun, plural=arguments.plural or plural_of(arguments.noun)))


if __name__ == "__main__":
    main()
