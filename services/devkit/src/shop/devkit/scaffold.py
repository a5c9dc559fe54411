"""Write a new service that works: ``python -m shop.devkit.scaffold loyalty``, or ``make new-service NAME=loyalty``.

The new service has an API, a table, a consumer and tests, all small and all real, to be changed into what is wanted.
"""

from __future__ import annotations

import argparse
import keyword
import shutil
import sys
import tempfile
from pathlib import Path

from shop.devkit import generate
from shop.devkit.generate.blocks import BlockError
from shop.devkit.generate.stubs import PROTO
from shop.devkit.manifest import NOUN, ManifestError

FILES = {
    "http": (Path(__file__).with_name("scaffold_files"),),
    "grpc": (Path(__file__).with_name("scaffold_files"), Path(__file__).with_name("scaffold_grpc_files")),
}
"""By kind of service; a later folder's file replaces an earlier one's."""
PROTO_TEMPLATE = Path(__file__).with_name("scaffold_proto.tmpl")
KIND_WORDS = {
    "http": {"kit": "shop-kit", "ports": "", "grpc_row": ""},
    "grpc": {
        "kit": "shop-kit[grpc]",
        "ports": "grpc-port = 50051\n",
        "grpc_row": "| gRPC | `contracts/proto/shop/{noun}/v1/{noun}.proto`, internal token; health and reflection |\n",
    },
}
SUFFIX = ".tmpl"
RESERVED = frozenset({"kit", "devkit", "contracts", "operator", "tests", "test", "shop"})
WRITTEN = """services/{noun} is written. It is part of `make up`, charts and Shops, and is served at /api/v1/{plural}.
Its tests: .venv/bin/python -m pytest services/{noun}"""


class ScaffoldError(ValueError):
    """The service cannot be written; the message is one sentence for a person."""


def plural_of(noun: str) -> str:
    """English plural, good enough for a path."""
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return f"{noun[:-1]}ies"
    return f"{noun}es" if noun.endswith(("s", "x", "ch", "sh")) else f"{noun}s"


def new_service(root: Path, noun: str, plural: str = "", kind: str = "http") -> Path:
    """Write services/<noun> below ``root`` and all that follows from its manifest; the new folder.

    ScaffoldError when it cannot be; then there is no new folder.
    """
    _check(root, noun)
    words = {"noun": noun, "Noun": noun.capitalize(), "plural": plural or plural_of(noun)}
    words |= {word: text.format(noun=noun) for word, text in KIND_WORDS[kind].items()}
    folder, proto = root / "services" / noun, root / PROTO / "shop" / noun / "v1" / f"{noun}.proto"
    with tempfile.TemporaryDirectory(prefix=".new-service-", dir=root) as unfinished:
        for files in FILES[kind]:
            _write(files, Path(unfinished) / noun, words)
        (Path(unfinished) / noun).rename(folder)
    if kind == "grpc":
        proto.parent.mkdir(parents=True, exist_ok=True)
        proto.write_text(_fill(PROTO_TEMPLATE.read_text(encoding="utf-8"), words), encoding="utf-8")
    try:
        generate.write(root)
    except (ManifestError, BlockError) as error:
        shutil.rmtree(folder)
        shutil.rmtree(proto.parent.parent, ignore_errors=True)
        raise ScaffoldError(str(error)) from error
    return folder


def _write(files: Path, folder: Path, words: dict[str, str]) -> None:
    for template in sorted(files.rglob(f"*{SUFFIX}")):
        target = folder / _place(template.relative_to(files), words)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(_fill(template.read_text(encoding="utf-8"), words), encoding="utf-8")


def _check(root: Path, noun: str) -> None:
    if not NOUN.fullmatch(noun) or keyword.iskeyword(noun) or noun in RESERVED:
        raise ScaffoldError(f"{noun!r} cannot name a service: one lower-case word, 2 to 31 letters, such as loyalty")
    if not (root / "services").is_dir() or not (root / "pyproject.toml").is_file():
        raise ScaffoldError(f"{root} is not the project's root: it has no services and no pyproject.toml")
    if (root / "services" / noun).exists():
        raise ScaffoldError(f"services/{noun} is there already")


def _place(template: Path, words: dict[str, str]) -> Path:
    """src and migrations are part of the package, everything else is beside it."""
    name = _fill(template.as_posix().removesuffix(SUFFIX), words)
    top, _, rest = name.partition("/")
    package = Path("src") / "shop" / words["noun"]
    return {"src": package / rest, "migrations": package / name}.get(top, Path(name))


def _fill(text: str, words: dict[str, str]) -> str:
    for word, value in words.items():
        text = text.replace(f"{{{{{word}}}}}", value)
    return text


def main() -> None:
    """Write the service named on the command line into the project in the current folder."""
    parser = argparse.ArgumentParser(
        prog="shop.devkit.scaffold", description=__doc__.splitlines()[0] if __doc__ else ""
    )
    parser.add_argument("noun", help="the service's noun, for example loyalty")
    parser.add_argument("--plural", default="", help="for its path, where English is irregular")
    parser.add_argument("--kind", choices=FILES, default="http", help="grpc: with a gRPC server beside the HTTP one")
    arguments = parser.parse_args()
    try:
        new_service(Path.cwd(), arguments.noun, arguments.plural, arguments.kind)
    except ScaffoldError as error:
        sys.exit(str(error))
    print(WRITTEN.format(noun=arguments.noun, plural=arguments.plural or plural_of(arguments.noun)))


if __name__ == "__main__":
    main()
