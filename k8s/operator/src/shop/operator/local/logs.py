"""Logs of a local shop: rotated at a named size, shown on request."""

import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

LOG_MAX_BYTES = 10_000_000
FOLLOW_POLL_S = 0.2
BLOCK_BYTES = 65_536


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


def follow(paths: Sequence[Path]) -> Iterator[tuple[Path, str]]:
    """Lines as they are written, for ever; starts at the present end, and again at 0 after a rotation."""
    places = {path: path.stat().st_size if path.exists() else 0 for path in paths}
    rests = dict.fromkeys(paths, b"")
    while True:
        quiet = True
        for path in paths:
            size = path.stat().st_size if path.exists() else 0
            if size < places[path]:
                places[path] = 0
            if size == places[path]:
                continue
            quiet = False
            with path.open("rb") as file:
                file.seek(places[path])
                chunk = file.read(BLOCK_BYTES)
            places[path] += len(chunk)
            *lines, rests[path] = (rests[path] + chunk).split(b"\n")
            yield from ((path, line.decode(errors="replace")) for line in lines)
        if quiet:
            time.sleep(FOLLOW_POLL_S)
