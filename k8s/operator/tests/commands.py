"""shopctl in the process of the tests: a start of Python takes a second, most commands take some milliseconds."""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from shop.operator.cli import shopctl as program


def shopctl(
    *arguments: str | Path, cwd: Path | None = None, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Exit code and output of a command that is not at a terminal; an error that shopctl does not handle is raised."""
    command, out, err = ["shopctl", *map(str, arguments)], io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", command)
        patch.setattr(sys, "stdin", io.StringIO())
        for name, value in (environment or {}).items():
            patch.setenv(name, value)
        if cwd is not None:
            patch.chdir(cwd)
        with (
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            pytest.raises(SystemExit) as ended,
        ):
            program.main()
    return subprocess.CompletedProcess(command, _exit_code(ended.value), out.getvalue(), err.getvalue())


def _exit_code(ended: SystemExit) -> int:
    assert ended.code is None or isinstance(ended.code, int), ended.code
    return ended.code or 0
