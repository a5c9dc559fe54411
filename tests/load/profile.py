"""Where a service spends its time under load, as tables or as a picture: py-spy samples its process from outside."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

SAMPLES_PER_S = 100
TOP = 20
STOP_TIMEOUT_S = 60.0
REFUSED = ("permission denied", "operation not permitted")
ALLOWING = "run as root, with `sysctl kernel.yama.ptrace_scope=0`, or in a container with `--cap-add SYS_PTRACE`"


class ProfileRefused(RuntimeError):
    """The operating system does not let this user read another process."""


@dataclass
class Profiler:
    """Samples a process from creation until the end; ``file`` gets the stacks, or the flame graph if it is an SVG."""

    service: str
    process: subprocess.Popen[bytes]
    file: Path

    @classmethod
    def start(cls, service: str, pid: int, seconds: float, file: Path) -> Profiler:
        file.parent.mkdir(parents=True, exist_ok=True)
        program = Path(sys.executable).with_name("py-spy")
        form = "flamegraph" if file.suffix == ".svg" else "raw"
        # Only threads that run Python count: a waiting thread holds no lock.
        options = ["--gil", "--pid", str(pid), "--duration", str(round(seconds)), "--rate", str(SAMPLES_PER_S)]
        command = [str(program), "record", *options, "--format", form, "--output", str(file)]
        return cls(service, subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE), file)

    def end(self) -> Path:
        """Wait for the file; ProfileRefused when the process may not be read."""
        _, error_output = self.process.communicate(timeout=STOP_TIMEOUT_S)
        if self.process.returncode:
            said = error_output.decode(errors="replace").strip()[-500:]
            if any(words in said.lower() for words in REFUSED):
                raise ProfileRefused(f"py-spy may not read the process of {self.service}: {ALLOWING} ({said})")
            raise RuntimeError(f"py-spy: {said}")
        return self.file

    def finish(self) -> dict[str, object]:
        """Functions with the most own time, and functions of the service and the kit with all that they called."""
        stacks = self.end().read_text(encoding="utf-8")
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
