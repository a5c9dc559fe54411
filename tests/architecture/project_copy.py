"""A copy of the project, in which `make new-service` runs and the project's own tests check what it made."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tests.architecture.source import ROOT
from tests.architecture.test_anatomy import tracked_files

COMMAND_TIMEOUT_S = 600
NOT_COPIED = frozenset({"tests/architecture/test_new_service.py"})
PYTEST = ("pytest", "-p", "no:cacheprovider", "-p", "no:xdist")
OUTPUT_BYTES = 3_000
CACHE = "__pycache__"


@dataclass(frozen=True)
class Outcomes:
    """Of one run of tests: the failure of each test that was not skipped, empty when it passed, by module and name."""

    output: str
    failures: dict[tuple[str, str], str]

    def passed(self, *tests: str) -> None:
        """Every test of these folders, files or functions has passed, and each of them has at least one."""
        for test in tests:
            path, _, name = test.partition("::")
            module = path.removesuffix(".py").replace("/", ".")
            found = {
                (of, called): failure
                for (of, called), failure in self.failures.items()
                if f"{of}.".startswith(f"{module}.") and name in {"", called.partition("[")[0]}
            }
            assert found, f"{test} was not run:\n{self.output[-OUTPUT_BYTES:]}"
            failed = [f"{'.'.join(key)}:\n{failure[-OUTPUT_BYTES:]}" for key, failure in found.items() if failure]
            assert not failed, "\n".join(failed)

    def failure(self, test: str) -> str:
        """Of the one test that is called so, which has to be run; empty when it passed."""
        path, _, name = test.partition("::")
        return self.failures[path.removesuffix(".py").replace("/", "."), name]


@dataclass(frozen=True)
class Project:
    """A copy of the project in which its programs run, and the content of each file before and after the service."""

    root: Path
    before: dict[str, bytes] = field(default_factory=dict)
    after: dict[str, bytes] = field(default_factory=dict)

    def attempt(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A module, or an installed program, with the packages of this copy."""
        installed = Path(sys.executable).with_name(program)
        command = [str(installed)] if installed.exists() else [sys.executable, "-m", program]
        sources = [*sorted(self.root.glob("services/*/src")), self.root / "k8s" / "operator" / "src"]
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(map(str, sources)),
            "RUFF_NO_CACHE": "true",
        }
        environment.pop("PYTEST_XDIST_WORKER", None)
        return subprocess.run(
            [*command, *arguments],
            cwd=self.root,
            env=environment,
            capture_output=True,
            text=True,
            timeout=COMMAND_TIMEOUT_S,
            check=False,
        )

    def run(self, program: str, *arguments: str) -> str:
        """The output of a command that succeeds."""
        done = self.attempt(program, *arguments)
        assert done.returncode == 0, f"{program}:\n{done.stdout[-OUTPUT_BYTES:]}\n{done.stderr[-OUTPUT_BYTES:]}"
        return done.stdout

    @contextlib.contextmanager
    def edited(self, name: str, old: str, new: str) -> Iterator[None]:
        """Meanwhile the file has ``new`` in the place of ``old``."""
        file = self.root / name
        right = file.read_text(encoding="utf-8")
        assert old in right, name
        file.write_text(right.replace(old, new), encoding="utf-8")
        try:
            yield
        finally:
            file.write_text(right, encoding="utf-8")

    @contextlib.contextmanager
    def without(self, folder: str) -> Iterator[None]:
        """Meanwhile the folder is elsewhere."""
        aside = (self.root / folder).rename(self.root / "aside")
        try:
            yield
        finally:
            aside.rename(self.root / folder)

    def outcomes(self, report: Path, *arguments: str) -> Outcomes:
        """Of tests that may fail; ``report`` is the file for pytest's own report."""
        done = self.attempt(*PYTEST, *arguments, f"--junitxml={report}")
        cases = ElementTree.parse(report).getroot().iter("testcase") if report.exists() else ()
        ran = [case for case in cases if case.find("skipped") is None]
        failures = {(case.get("classname", ""), case.get("name", "")): _failure(case) for case in ran}
        return Outcomes(done.stdout + done.stderr, failures)

    def lint_imports(self) -> subprocess.CompletedProcess[str]:
        return self.attempt("lint-imports", "--no-cache")


def _failure(case: ElementTree.Element) -> str:
    return "\n".join(one.text or one.tag for one in case if one.tag in {"failure", "error"})


def contents(root: Path) -> dict[str, bytes]:
    files = [path for path in root.rglob("*") if path.is_file() and not path.is_symlink()]
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files if "__pycache__" not in path.parts}


def copy_compiled(root: Path) -> None:
    """What Python has compiled of the copied files, which have the same times: compiling them again takes long.

    Not what pytest has compiled, which names the files in their first place.
    """
    for folder in {file.parent for file in root.rglob("*.py")}:
        for compiled in (ROOT / folder.relative_to(root) / CACHE).glob("*.pyc"):
            if "pytest" not in compiled.name:
                (folder / CACHE).mkdir(exist_ok=True)
                shutil.copy2(compiled, folder / CACHE)


def with_new_services(root: Path, kinds: Mapping[str, str]) -> Project:
    """A copy below ``root``, after the commands of `make new-service` for each noun and its kind."""
    for file in tracked_files():
        name = file.relative_to(ROOT).as_posix()
        if name not in NOT_COPIED and (file.exists() or file.is_symlink()):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(file, root / name, follow_symlinks=False)
    copy_compiled(root)
    made = Project(root)
    made.before.update(contents(root))
    for noun, kind in kinds.items():
        printed = made.run("shop.devkit.scaffold", noun, "--kind", kind)
        assert "by hand" not in printed.lower()
        made.run("ruff", "check", "--quiet", "--fix", f"services/{noun}")
        made.run("ruff", "format", "--quiet", f"services/{noun}")
    made.run("shop.devkit.generate")
    made.run("tests.contracts.golden")
    made.run("tests.architecture.package_diagram")
    made.run("tests.charts.generate")
    made.after.update(contents(root))
    return made
