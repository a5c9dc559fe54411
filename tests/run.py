"""Run every test, those that need a whole shop at the end, and close with one line: `make test`.

Two phases, because whole shops and browsers beside all other tests are too much for two cores. There are more workers
than cores: about half of a test's time is waiting for deadlines, disks and starting servers.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parent.parent
REPORTS = ROOT / "build" / "tests"
FOLDERS = ("services", "k8s/operator", "tests")
"""testpaths of pyproject.toml."""
WORKERS = 4
SHOP_WORKERS = 2
ELSEWHERE = ("--ignore=tests/operator",)
"""They need a kube-apiserver: `make e2e` has one."""
BY_FILE = ("--dist", "loadfile", "--no-loadscope-reorder", "-p", "tests.longest_first")
PHASES = {
    "services": ["-m", "not shop and not browser", "-n", str(WORKERS), *BY_FILE, *ELSEWHERE],
    "shop": ["-m", "shop or browser", "-n", str(SHOP_WORKERS), *BY_FILE, *ELSEWHERE],
}
MARKS = {"services": "", "shop": "pytest.mark.(?:shop|browser)"}
"""What is in the text of every file that has a test of the phase: collecting all files takes 9 s more."""
NOTHING_COLLECTED = 5
COUNTED = {"failures": "failed", "errors": "errors", "skipped": "skipped"}


def run_phase(name: str, options: list[str], extra: list[str]) -> tuple[int, Counter[str]]:
    """Exit code and counts of one pytest run; a phase without tests is not a failure."""
    report = REPORTS / f"{name}.xml"
    report.unlink(missing_ok=True)
    # One more -q silences pytest's own closing line: the only one is printed by main().
    command = [sys.executable, "-m", "pytest", "-q", *options, f"--junitxml={report}", "--durations=15", *extra]
    code = subprocess.run(command, cwd=ROOT, check=False).returncode
    return (0 if code == NOTHING_COLLECTED else code), counts(report)


def files_with(mark: str, extra: list[str]) -> list[str]:
    """The test files whose text has the mark; none, which is all, when there is no mark or files are given."""
    if not mark or any((ROOT / argument.partition("::")[0]).exists() for argument in extra):
        return []
    found = [path for folder in FOLDERS for path in (ROOT / folder).rglob("test_*.py")]
    return [str(path) for path in sorted(found) if re.search(mark, path.read_text(encoding="utf-8"))]


def counts(report: Path) -> Counter[str]:
    """How many tests passed, failed, erred and were skipped by one JUnit report; empty when there is none."""
    if not report.exists():
        return Counter()
    found: Counter[str] = Counter()
    for suite in ElementTree.parse(report).getroot().iter("testsuite"):
        for attribute, word in COUNTED.items():
            found[word] += int(suite.get(attribute, "0"))
        found["passed"] += int(suite.get("tests", "0"))
    found["passed"] -= sum(found[word] for word in COUNTED.values())
    return found


def closing_line(total: Counter[str], seconds: float) -> str:
    """As pytest writes it, so that whatever reads pytest reads this."""
    words = [f"{total[word]} {word}" for word in ("failed", "passed", "skipped", "errors") if total[word]]
    return f" {', '.join(words) or 'no tests ran'} in {seconds:.2f}s ".center(80, "=")


def main() -> int:
    """The first exit code that is not 0; every phase runs even when an earlier one failed."""
    REPORTS.mkdir(parents=True, exist_ok=True)
    started, total, codes = time.monotonic(), Counter[str](), []
    for name, options in PHASES.items():
        began = time.monotonic()
        extra = sys.argv[1:]
        code, found = run_phase(name, [*options, *files_with(MARKS[name], extra)], extra)
        print(f"phase {name}: {time.monotonic() - began:.0f} s", flush=True)
        total += found
        codes.append(code)
    print(closing_line(total, time.monotonic() - started), flush=True)
    return next((code for code in codes if code), 0)


if __name__ == "__main__":
    sys.exit(main())
