"""Logs of a local shop: rotated at a named size, shown on request."""

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

LOG_MAX_BYTES = 10_000_000
FOLLOW_POLL_S = 0.2
BLOCK_BYTES = 65_536
SERVERS = ("postgres", "nats", "valkey", "prometheus")
"""They have their logs in their own folders."""


def rotate(path: Path, max_bytes: int = LOG_MAX_BYTES) -> bool:
    """Move a log that grew beyond `max_bytes` to `.1`; its writer appends, so the file is emptied in place."""
    if not path.exists() or path.stat().st_size <= max_bytes:
        return False
    shutil.copyfile(path, path.with_name(path.name + ".1"))
    with path.open("r+b") as file:
        file.truncate(0)
    return True


def last_lines(path: Path, count: int) -> list[str]:
    """The last `count` lines, read from the end."""
    with path.open("rb") as file:
        position = file.seek(0, 2)
        content = b""
        while position > 0 and content.count(b"\n") <= count:
            step = min(BLOCK_BYTES, position)
            position -= step
            file.seek(position)
            content = file.read(step) + content
    return content.decode(errors="replace").splitlines()[-count:] if count else []


def follow(paths: Sequence[Path], pause: Callable[[float], None] = time.sleep) -> Iterator[tuple[Path, str]]:
    """New lines from now on until interrupted; after a rotation a log is read from its beginning."""
    followers = [_Follower(path) for path in paths]

    def added() -> Iterator[tuple[Path, str]]:
        while True:
            lines = [(follower.path, line) for follower in followers for line in follower.read()]
            yield from lines
            if not lines:
                pause(FOLLOW_POLL_S)

    return added()


class _Follower:
    def __init__(self, path: Path) -> None:
        self.path = path
        self._place = path.stat().st_size if path.exists() else 0
        self._rest = b""

    def read(self) -> list[str]:
        """The whole lines that were added."""
        size = self.path.stat().st_size if self.path.exists() else 0
        if size < self._place:
            self._place, self._rest = 0, b""
        if size == self._place:
            return []
        with self.path.open("rb") as file:
            file.seek(self._place)
            chunk = file.read(BLOCK_BYTES)
        self._place += len(chunk)
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        return [line.decode(errors="replace") for line in lines]
