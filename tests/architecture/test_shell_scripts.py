"""Scripts that people run on their own machines work with bash 3.2 and BSD tools, which macOS has.

Bash 3.2 itself cannot be installed where the tests run, so what it lacks is looked for in the text.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.architecture.source import ROOT

OF_ONE_SYSTEM = (
    "tests/cluster/",  # makes a node of a Debian machine
    "charts/shop/files/backup/",  # runs in the chart's images
)
FOLDERS = (".ci", "charts", "k8s", "services", "tests")
CHECK_TIMEOUT_S = 60
NEWER_THAN_BASH_3_2 = {
    "mapfile or readarray": r"\b(mapfile|readarray)\b",
    "an associative array": r"\b(declare|local|typeset|readonly)\s+-[a-zA-Z]*A",
    "a name reference": r"\b(declare|local|typeset)\s+-[a-zA-Z]*n\b",
    "a change of case in an expansion": r"\$\{\w+(\[[^]]*\])?(,,?|\^\^?)",
    "an operator such as ${x@Q}": r"\$\{\w+(\[[^]]*\])?@[A-Za-z]\}",
    "a negative index": r"\$\{\w+\[\s*-\d+",
    "|& or &>>": r"\|&|&>>",
    "coproc": r"\bcoproc\b",
    "wait -n": r"\bwait\s+-[a-z]*n",
    "[[ -v": r"\[\[\s+(!\s+)?-v\b",
    "printf %(format)T": r"printf\b.*%\(.*\)T",
    "EPOCHSECONDS, EPOCHREALTIME, BASHPID or SRANDOM": r"\b(EPOCHSECONDS|EPOCHREALTIME|BASHPID|SRANDOM)\b",
    ";& or ;;&": r";;?&(?!&)",
    "shopt globstar or lastpipe": r"\b(globstar|lastpipe)\b",
    "a file descriptor by name": r"\bexec\s+\{\w+\}[<>]",
}
NOT_IN_BSD = {
    "sed -i, which takes a suffix there": r"\bsed\b[^|;&]*\s-[a-zA-Z]*i\b",
    "grep -P": r"\bgrep\s+-[a-zA-Z]*P",
    "readlink -f": r"\breadlink\s+-[a-zA-Z]*f",
    "date -d": r"\bdate\s+-[a-zA-Z]*d\b",
    "stat -c": r"\bstat\s+-[a-zA-Z]*c\b",
    "find -printf": r"\bfind\b.*-printf\b",
    "xargs -r or -d": r"\bxargs\s+-[a-zA-Z0]*[rd]\b",
    "cp -a or -rL, where -RL is portable": r"\bcp\s+-(a|rL|Lr)\b",
    "base64 -w": r"\bbase64\s+-[a-z]*w",
    "timeout": r"^\s*timeout\s",
    "tac, nproc, realpath or sha256sum": r"(^|[|;&(]\s*)(tac|nproc|realpath|sha256sum)\b",
}


def scripts() -> list[Path]:
    """Every file of the project's folders that begins as a shell script, and is not of one system."""
    paths = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*")) if path.is_file()]
    own = [ROOT / "shopctl", *(path for path in paths if not name(path).startswith(OF_ONE_SYSTEM))]
    return [path for path in own if re.match(rb"#!.*\b(ba|da|z)?sh\b", path.read_bytes()[:80])]


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


SCRIPTS = scripts()


def newer(text: str) -> list[str]:
    """What `text` uses that macOS does not have, with the number of the line."""
    lines = [(number, line.partition(" #")[0]) for number, line in enumerate(text.splitlines(), 1)]
    return [
        f"line {number}: {what}"
        for number, line in lines
        if not line.lstrip().startswith("#")
        for what, pattern in {**NEWER_THAN_BASH_3_2, **NOT_IN_BSD}.items()
        if re.search(pattern, line)
    ]


def test_the_scripts_are_found() -> None:
    assert {"services/images.sh", "charts/package.sh", "k8s/up.sh", "k8s/install.sh", ".ci/run", "shopctl"} <= set(
        map(name, SCRIPTS)
    )


@pytest.mark.parametrize("script", [*SCRIPTS, ROOT / "Makefile"], ids=name)
def test_it_needs_no_newer_bash_and_no_gnu_tools(script: Path) -> None:
    assert newer(script.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "line",
    [
        "mapfile -t all < <(nouns)",
        "declare -A ports",
        'echo "${name,,}"',
        "make up |& tee log",
        'sed -i -E "s/a/b/" file',
        "find . -exec sed -i 's/a/b/' {} +",
        "grep -oP x file",
        'cp -rL "$a" "$b"',
        "echo ${list[-1]}",
        "wait -n",
    ],
)
def test_newer_syntax_is_found(line: str) -> None:
    assert len(newer(f"set -e\n{line}\n")) == 1


@pytest.mark.parametrize("script", SCRIPTS, ids=name)
def test_arrays_that_may_be_empty_are_not_expanded(script: Path) -> None:
    """Under `set -u` bash before 4.4 calls an empty array unbound: its size is asked for first."""
    text = script.read_text(encoding="utf-8")
    for array in re.findall(r"^\s*(?:local |readonly )?(\w+)=\(\)", text, re.MULTILINE):
        uses = re.findall(rf'(.*)"\$\{{{array}\[@\]\}}"', text)
        assert not uses or f"${{#{array}[@]}}" in text, f"{array} may be empty"


@pytest.mark.parametrize("script", SCRIPTS, ids=name)
def test_shellcheck_has_no_complaint(script: Path) -> None:
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed; .ci/run installs it")
    command = ["shellcheck", "--severity=warning", "--external-sources", str(script)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=CHECK_TIMEOUT_S)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("script", [path for path in SCRIPTS if path.name != "run"], ids=name)
def test_a_wrong_word_is_answered_with_the_usage(script: Path) -> None:
    done = subprocess.run(
        [str(script), "nonsense"], cwd="/", capture_output=True, text=True, check=False, timeout=CHECK_TIMEOUT_S
    )
    assert done.returncode != 0
    assert name(script).rpartition("/")[2] in done.stderr
