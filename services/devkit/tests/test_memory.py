"""Folders in memory are deleted, also those of killed processes, and are not used where there is too little room."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from shop.devkit import memory


def test_folder_is_deleted_with_what_is_in_it(tmp_path: Path) -> None:
    with memory.folder(tmp_path, 0) as made:
        assert made
        assert made.parent == tmp_path
        (made / "data").write_text("content", encoding="utf-8")
    assert list(tmp_path.iterdir()) == []


def test_folder_of_an_ended_process_is_deleted_and_no_other(tmp_path: Path) -> None:
    ended = subprocess.check_output([sys.executable, "-c", "import os; print(os.getpid())"], text=True)
    left = tmp_path / f"{memory.PREFIX}{ended.strip()}-abc"
    (left / "data").mkdir(parents=True)
    kept = [tmp_path / f"{memory.PREFIX}{os.getppid()}-abc", tmp_path / "of-another-program"]
    for path in kept:
        path.mkdir()
    with memory.folder(tmp_path, 0) as made:
        assert set(tmp_path.iterdir()) == {*kept, made}


def test_there_is_none_without_enough_room_or_without_a_folder_in_memory(tmp_path: Path) -> None:
    with memory.folder(tmp_path, 1 << 62) as made:
        assert made is None
    with memory.folder(tmp_path / "none", 0) as made:
        assert made is None
