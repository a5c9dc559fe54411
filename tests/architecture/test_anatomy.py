"""Every service has the same parts in the same places, and the workspace knows it."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from pydantic_settings import BaseSettings

from shop.kit.grpc.settings import GrpcSettings
from tests.architecture.source import (
    LIBRARIES,
    ROOT,
    SERVICES_FOLDER,
    package_folder,
    service_folder,
    service_nouns,
    source_modules,
)

BEFORE_SETTINGS = frozenset({"SHOP_SERVICE"})
"""Says which service's settings to read."""
TEXT_SUFFIXES = frozenset({".py", ".md", ".toml", ".yaml", ".yml", ".sql", ".html", ".css", ".js", ".json", ".svg", ""})
PATH_OF_A_MACHINE = re.compile(r"(?<![\w.])/(root|work|Users|home/(?!shop\b)\w+)/\w")
OF_SHOPCTL = "SHOP_AUDIT_"
"""Prefix of what shopctl itself reads: where the databases are that it audits."""
OF_THE_OPERATOR = {"SHOP_OPERATOR_CHARTS", "SHOP_OPERATOR_HELM"}
"""What is read where the charts are looked for, besides the settings of its process."""
OF_THE_SCRIPTS = {"SHOP_VERSION"}
"""What charts/shop/files/backup reads."""
VARIABLE = re.compile(r"\bSHOP_[A-Z0-9_]*[A-Z0-9](?![A-Z0-9_])")
CONSTANT = re.compile(r"^(SHOP_[A-Z0-9_]+) = ", re.MULTILINE)
"""A Python constant that only looks like an environment variable."""


def workspace() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("noun", service_nouns())
def test_service_has_its_parts(noun: str) -> None:
    folder, package = service_folder(noun), package_folder(noun)
    needed = [
        folder / "README.md",
        folder / "tests",
        package / "main.py",
        package / "settings.py",
        package / "py.typed",
    ]
    assert not [str(path.relative_to(ROOT)) for path in needed if not path.exists()]
    assert list((folder / "tests").rglob("test_*.py")), f"{noun} has no test"


@pytest.mark.parametrize("noun", service_nouns())
def test_service_with_sql_has_reversible_migrations(noun: str) -> None:
    package = package_folder(noun)
    migrations = [path for path in package.glob("migrations/*.sql") if not path.name.endswith(".rollback.sql")]
    assert bool(migrations) == bool(list(package.rglob("*repository*"))), "SQL needs tables, and tables need SQL"
    assert not [path.name for path in migrations if not path.with_suffix(".rollback.sql").exists()]
    kits = {path.name for path in package_folder("kit").glob("migrations/*.sql")}
    assert not kits & {path.name for path in migrations}, "one of the same name as the kit's would never be applied"


@pytest.mark.parametrize("noun", service_nouns())
def test_workspace_knows_the_service(noun: str) -> None:
    root = workspace()
    linter = root["tool"]["importlinter"]
    independence = next(c for c in linter["contracts"] if c["type"] == "independence")
    layers = next(c for c in linter["contracts"] if c["type"] == "layers")
    own = tomllib.loads((service_folder(noun) / "pyproject.toml").read_text(encoding="utf-8"))
    assert own["project"]["name"] == f"shop-{noun}"
    assert f"shop-{noun}" in root["project"]["dependencies"]
    assert f"shop-{noun}" in root["tool"]["uv"]["sources"]
    assert f"services/{noun}/src" in root["tool"]["mypy"]["mypy_path"]
    assert f"shop.{noun}" in linter["root_packages"]
    assert f"shop.{noun}" in independence["modules"]
    assert any(f"shop.{noun}" in layer.split(" | ") for layer in layers["layers"])


def test_shop_is_a_namespace_of_many_packages() -> None:
    assert not [*SERVICES_FOLDER.glob("*/src/shop/__init__.py"), *(ROOT / "k8s").glob("*/src/shop/__init__.py")]


def test_no_module_of_the_operator_shares_its_name_with_another_or_with_one_of_the_standard_library() -> None:
    """`probes`, `plan` or `logs` alone then says which module is meant."""
    named = Counter(module.path.stem for module in source_modules() if module.package == "shop.operator")
    assert not [name for name, times in named.items() if times > 1 and not name.startswith("__")]
    assert not named.keys() & sys.stdlib_module_names


def settings_of(noun: str) -> type[BaseSettings]:
    found: type[BaseSettings] = importlib.import_module(f"shop.{noun}.settings").Settings
    return found


def variables_of(noun: str) -> set[str]:
    return {f"SHOP_{name.upper()}" for name in settings_of(noun).model_fields}


def variables_of_the_operator() -> set[str]:
    settings: type[BaseSettings] = importlib.import_module("shop.operator.engine.settings").Settings
    return OF_THE_OPERATOR | OF_THE_SCRIPTS | {f"SHOP_OPERATOR_{name.upper()}" for name in settings.model_fields}


@pytest.mark.parametrize("noun", service_nouns())
def test_settings_name_the_service(noun: str) -> None:
    settings = settings_of(noun)
    assert getattr(settings, "service", None) == noun
    assert settings.model_config.get("env_prefix") == "SHOP_"


def test_every_variable_that_is_set_is_read() -> None:
    known = variables_of_the_operator() | BEFORE_SETTINGS.union(*(variables_of(noun) for noun in service_nouns()))
    known |= {f"SHOP_{name.upper()}" for name in GrpcSettings.model_fields}
    known |= {f"SHOP_{noun.upper()}_GRPC_URL" for noun in service_nouns()}
    paths = [*SERVICES_FOLDER.rglob("*.py"), *(ROOT / "k8s").rglob("*.py"), *SERVICES_FOLDER.glob("*/README.md")]
    sources = {path: path.read_text(encoding="utf-8") for path in paths}
    known |= {name for text in sources.values() for name in CONSTANT.findall(text)}
    mentioned = {(path, name) for path, text in sources.items() for name in VARIABLE.findall(text)}
    own = {(path, name) for path, name in mentioned if name.startswith(OF_SHOPCTL)}
    unknown = {f"{path.relative_to(ROOT)}: {name}" for path, name in mentioned - own if name not in known}
    assert not unknown, f"no service has such a setting: {sorted(unknown)}"


def tracked_files() -> list[Path]:
    """Every file that belongs to the project: by git, or where there is no git all but the hidden ones."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode == 0:
        return [ROOT / name for name in listed.stdout.split("\0") if name]
    return [path for path in ROOT.rglob("*") if not any(part.startswith(".") for part in path.parts)]


def test_no_file_names_a_path_of_one_machine() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{number}"
        for path in tracked_files()
        if path.is_file() and path.suffix in TEXT_SUFFIXES and path.name != "uv.lock"
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if PATH_OF_A_MACHINE.search(line)
    ]
    assert not found


def test_libraries_are_no_services() -> None:
    assert not [noun for noun in LIBRARIES if (package_folder(noun) / "main.py").exists()]
