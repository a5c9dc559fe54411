"""What each process of a shop that nobody uses takes: `python -m tests.load.rest --data-dir .shop --seconds 20`.

Memory in MiB of PSS, shared pages divided by their users; processor time in milliseconds a second; wake-ups a second.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil

from shop.operator.local import running_shop
from shop.operator.local.data_dir import DataDir

MAX_SECONDS = 300.0
PROC = Path("/proc")


@dataclass(frozen=True)
class Taken:
    """By some processes since they began: nanoseconds of processor time, and how often they were woken."""

    cpu_ns: int = 0
    wakeups: int = 0

    def __add__(self, other: Taken) -> Taken:
        return Taken(self.cpu_ns + other.cpu_ns, self.wakeups + other.wakeups)

    def __sub__(self, other: Taken) -> Taken:
        return Taken(self.cpu_ns - other.cpu_ns, self.wakeups - other.wakeups)


def taken_by(pids: Iterable[int]) -> Taken:
    """Of all threads of the processes; those that have ended are left out."""
    total = Taken()
    for pid in pids:
        for thread in PROC.joinpath(str(pid), "task").glob("*"):
            try:
                cpu_ns = int((thread / "schedstat").read_text().split()[0])
                status = (thread / "status").read_text()
            except OSError:
                continue
            total += Taken(cpu_ns, int(status.partition("\nvoluntary_ctxt_switches:")[2].split()[0]))
    return total


def families(data: DataDir) -> dict[str, list[int]]:
    """The processes of each component, with those that PostgreSQL makes, and the two of the supervisor."""
    state = running_shop.status(data)
    found = {one["name"]: [one["pid"]] for one in state["components"] if one["pid"]}
    found["postgres"] += [child.pid for child in psutil.Process(found["postgres"][0]).children()]
    own = state["supervisor"]
    return found | {"supervisor": [pid for pid in (own["pid"], own["prefork_pid"]) if pid]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data-dir", type=Path, default=Path(".shop"))
    parser.add_argument("--seconds", type=float, default=20.0)
    options = parser.parse_args()
    pids = families(DataDir(options.data_dir))
    before, began = {name: taken_by(found) for name, found in pids.items()}, time.monotonic()
    time.sleep(min(options.seconds, MAX_SECONDS))
    seconds = time.monotonic() - began
    taken = {name: taken_by(found) - before[name] for name, found in pids.items()}
    memory = {name: sum(map(running_shop.memory, found)) / 2**20 for name, found in pids.items()}
    print(f"{'':18} {'MiB':>6} {'ms/s':>6} {'wake-ups/s':>11}")
    for name, one in sorted(taken.items(), key=lambda each: -each[1].cpu_ns):
        print(f"{name:18} {memory[name]:6.1f} {one.cpu_ns / 1e6 / seconds:6.2f} {one.wakeups / seconds:11.1f}")
    whole = sum(taken.values(), Taken())
    share = whole.cpu_ns / 1e9 / seconds
    print(f"{sum(memory.values()):.0f} MiB, {share:.2%} of a core, {whole.wakeups / seconds:.0f} wake-ups/s in total")


if __name__ == "__main__":
    main()
