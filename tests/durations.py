"""Where the time of the last `make test` and `make e2e` went, from the reports in build: `python -m tests.durations`.

With a service's name, what its own tests and the cases that others have for it took: the cost of one more service.
"""

from __future__ import annotations

import argparse
import re
import sys
import xml.etree.ElementTree as ElementTree
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parent.parent
REPORTS = (ROOT / "build" / "tests", ROOT / "build" / "e2e")
MAX_FILES = 30


@dataclass(frozen=True)
class Case:
    """One test of a report; `seconds` include its set-up and tear-down."""

    module: str
    name: str
    seconds: float

    def is_for(self, noun: str) -> bool:
        """Whether it is in the service's folder or one of its parameters is the service."""
        parameters = re.split(r"\W+", self.name.partition("[")[2])
        return self.module.startswith(f"services.{noun}.") or noun in parameters


def cases(report: Path) -> list[Case]:
    found = ElementTree.parse(report).getroot().iter("testcase")
    return [Case(one.get("classname", ""), one.get("name", ""), float(one.get("time", "0"))) for one in found]


def by_module(found: Iterable[Case]) -> list[tuple[str, float]]:
    """Seconds of each test file, most first."""
    seconds: defaultdict[str, float] = defaultdict(float)
    for case in found:
        seconds[case.module] += case.seconds
    return sorted(seconds.items(), key=lambda entry: -entry[1])


def main() -> int:
    """1 when there is no report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("service", nargs="?", default="", help="only the tests that there are because of this service")
    noun = parser.parse_args().service
    reports = [path for folder in REPORTS for path in sorted(folder.glob("*.xml"))]
    for path in reports:
        found = [case for case in cases(path) if not noun or case.is_for(noun)]
        print(f"{path.relative_to(ROOT)}: {sum(case.seconds for case in found):.0f} s in {len(found)} tests")
        for module, seconds in by_module(found)[:MAX_FILES]:
            print(f"  {seconds:7.1f} s  {module}")
    if not reports:
        print("no reports in build: run `make test` first", file=sys.stderr)
    return 0 if reports else 1


if __name__ == "__main__":
    sys.exit(main())
