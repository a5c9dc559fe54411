"""Where a service spends its time under load, by sampling its process from outside (py-spy, fetched when missing)."""

from __future__ import annotations

import shutil
import subprocess
from collections import Counter
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
        spy = ["py-spy"] if shutil.which("py-spy") else ["uv", "tool", "run", "py-spy"]
        options = ["--pid", str(pid), "--duration", str(round(seconds)), "--rate", str(SAMPLES_PER_S)]
        command = [*spy, "record", *options, "--format", "raw", "--output", str(file)]
        return cls(service, subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE), file)

    def finish(self) -> dict[str, object]:
        """The functions that were on the stack most often, with their share of all samples."""
        _, complaint = self.process.communicate(timeout=STOP_TIMEOUT_S)
        if self.process.returncode:
            raise RuntimeError(f"py-spy: {complaint.decode(errors='replace').strip()[-500:]}")
        top = shares(self.file.read_text(encoding="utf-8"))
        return {"service": self.service, "file": str(self.file), "top": top[:TOP]}


def shares(stacks: str) -> list[tuple[str, float]]:
    """Of collapsed stacks (``a;b;c 12``): each function's own share of the samples, the greatest first."""
    own: Counter[str] = Counter()
    for line in stacks.splitlines():
        stack, _, count = line.rpartition(" ")
        if stack:
            own[stack.rpartition(";")[2]] += int(count)
    total = own.total() or 1
    return [(name, count / total) for name, count in own.most_common()]
