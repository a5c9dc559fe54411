"""`make new-service` writes a service that works, so the generator cannot rot."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from shop.devkit import scaffold
from tests.architecture.source import ROOT

NOUN = "loyalty"
COMMAND_TIMEOUT_S = 180
IGNORED = shutil.ignore_patterns("__pycache__", "test_new_service.py", "test_package_diagram.py")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project of its own with links to the real packages, into which the service was generated."""
    root = tmp_path_factory.mktemp("project")
    (root / "services").mkdir()
    for folder in sorted((ROOT / "services").iterdir()):
        (root / "services" / folder.name).symlink_to(folder)
    (root / "k8s").symlink_to(ROOT / "k8s")
    for file in ("pyproject.toml", "Makefile"):
        shutil.copy(ROOT / file, root)
    shutil.copytree(ROOT / "tests" / "architecture", root / "tests" / "architecture", ignore=IGNORED)
    scaffold.generate(root, NOUN)
    run(root, "ruff", "check", "--quiet", "--fix", f"services/{NOUN}")
    run(root, "ruff", "format", "--quiet", f"services/{NOUN}")
    return root


def run(root: Path, program: str, *arguments: str) -> str:
    """The output of an installed program in ``root``; a failed assertion when it ends with an error."""
    done = attempt(root, program, *arguments)
    assert done.returncode == 0, f"{program}:\n{done.stdout[-3000:]}\n{done.stderr[-2000:]}"
    return done.stdout


def attempt(root: Path, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(root / "services" / NOUN / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
    environment.pop("PYTEST_XDIST_WORKER", None)
    return subprocess.run(
        [sys.executable, "-m", program, *arguments] if program == "pytest" else [str(tool(program)), *arguments],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
        timeout=COMMAND_TIMEOUT_S,
        check=False,
    )


def tool(program: str) -> Path:
    return Path(sys.executable).with_name(program)


def test_its_own_tests_pass(project: Path) -> None:
    assert " passed" in run(project, "pytest", f"services/{NOUN}", "-p", "no:cacheprovider")


def test_it_is_built_like_every_service(project: Path) -> None:
    assert " passed" in run(project, "pytest", "tests/architecture", "-k", NOUN, "-p", "no:cacheprovider")


def test_it_keeps_the_rules(project: Path) -> None:
    run(project, "ruff", "check", f"services/{NOUN}")
    cache = ROOT / ".mypy_cache" / "new-service"
    run(project, "mypy", f"services/{NOUN}/src", f"services/{NOUN}/tests", "--cache-dir", str(cache))
    kept = run(project, "lint-imports", "--no-cache")
    assert " 0 broken" in kept


@pytest.mark.parametrize(
    ("forbidden", "broken"),
    [("shop.order.domain", "No service imports another"), ("shop.kit.db", "A domain does no input or output")],
)
def test_import_contracts_hold_for_it(project: Path, forbidden: str, broken: str) -> None:
    domain = project / "services" / NOUN / "src" / "shop" / NOUN / "domain.py"
    right = domain.read_text(encoding="utf-8")
    domain.write_text(f"{right}\nimport {forbidden}\n", encoding="utf-8")
    try:
        told = attempt(project, "lint-imports", "--no-cache")
    finally:
        domain.write_text(right, encoding="utf-8")
    assert told.returncode == 1
    assert f"{broken} BROKEN" in told.stdout


def test_nothing_of_the_template_is_left(project: Path) -> None:
    texts = {
        path: path.read_text(encoding="utf-8") for path in (project / "services" / NOUN).rglob("*.*") if path.is_file()
    }
    assert not [path for path, text in texts.items() if "{{" in text or path.suffix == scaffold.SUFFIX]


@pytest.mark.parametrize("name", ["Loyalty", "loyalty-points", "1st", "x", "class", "kit", "a" * 32, "../evil", ""])
def test_name_that_cannot_be_a_package_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(scaffold.ScaffoldError, match="cannot name a service"):
        scaffold.generate(tmp_path, name)


def test_existing_service_is_not_touched() -> None:
    with pytest.raises(scaffold.ScaffoldError, match="there already"):
        scaffold.generate(ROOT, "order")


def test_folder_that_is_no_project_is_refused(tmp_path: Path) -> None:
    with pytest.raises(scaffold.ScaffoldError, match="not the project's root"):
        scaffold.generate(tmp_path, NOUN)


def test_unknown_workspace_file_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    (tmp_path / "services").mkdir()
    (tmp_path / "pyproject.toml").write_text("[project]\n", encoding="utf-8")
    with pytest.raises(scaffold.ScaffoldError, match=r"pyproject\.toml has no"):
        scaffold.generate(tmp_path, NOUN)
    assert not list((tmp_path / "services").iterdir())


@pytest.mark.parametrize(
    ("noun", "plural"), [("order", "orders"), ("loyalty", "loyalties"), ("delay", "delays"), ("box", "boxes")]
)
def test_path_is_the_plural(noun: str, plural: str) -> None:
    assert scaffold.plural_of(noun) == plural
