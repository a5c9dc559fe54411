"""Where a service spends its time under load, by sampling its process from outside (py-spy, fetched when missing)."""

from __future__ import annotations

import shutil
import subprocess
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

SAMPLES_PER_S = 100
TOP = 20
STOP_TIMEOUT_S = 60.0


@dataclass
class Profiler:
    """Samples ``pid`` from creation until ``finish``; ``file`` gets the stacks, one per line with its count."""

    service: str
    process: subprocess.Popen[bytes]
    file: Path

    @classmethod
    def start(cls, service: str, pid: int, seconds: float, file: Path) -> Profiler:
        file.parent.mkdir(parents=True, exist_ok=True)
        program = ["py-spy"] if shutil.which("py-spy") else ["uv", "tool", "run", "py-spy"]
        # Only threads that run Python count: a waiting thread holds no lock.
        options = ["--gil", "--pid", str(pid), "--duration", str(round(seconds)), "--rate", str(SAMPLES_PER_S)]
        command = [*program, "record", *options, "--format", "raw", "--output", str(file)]
        return cls(service, subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE), file)

    def finish(self) -> dict[str, object]:
        """Functions with the most own time, and functions of the service and the kit with all that they called."""
        _, error_output = self.process.communicate(timeout=STOP_TIMEOUT_S)
        if self.process.returncode:
            raise RuntimeError(f"py-spy: {error_output.decode(errors='replace').strip()[-500:]}")
        stacks = self.file.read_text(encoding="utf-8")
        below = [(name, share) for name, share in inclusive(stacks) if f"({self.service}/" in name or "(kit/" in name]
        return {"service": self.service, "file": str(self.file), "top": own(stacks)[:TOP], "below": below[:TOP]}


def own(stacks: str) -> list[tuple[str, float]]:
    """Of collapsed stacks (``a;b;c 12``): each function's own share of the samples, the greatest first."""
    return _shares((stack[-1:], count) for stack, count in _parsed(stacks))


def inclusive(stacks: str) -> list[tuple[str, float]]:
    """Likewise, with everything that the function called."""
    return _shares((set(stack), count) for stack, count in _parsed(stacks))


def _parsed(stacks: str) -> Iterator[tuple[list[str], int]]:
    for line in stacks.splitlines():
        stack, _, count = line.rpartition(" ")
        if stack:
            yield stack.split(";"), int(count)


def _shares(samples: Iterable[tuple[Iterable[str], int]]) -> list[tuple[str, float]]:
    counted: Counter[str] = Counter()
    total = 0
    for names, count in samples:
        total += count
        counted.update(dict.fromkeys(names, count))
    return [(name, count / total) for name, count in counted.most_common()]
