"""Two revisions of the project on this machine, each with its own environment and its own shopctl."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from tests.load.local_shop import CHEAP_PASSWORDS, ROOT, UP_TIMEOUT_S, Json, LocalShop, shop_document, shopctl

BASES = ROOT / "build" / "bases"
GIT_TIMEOUT_S = 60.0
SYNC_TIMEOUT_S = 600.0
BASE, HEAD = "base", "head"


class RevisionFailed(RuntimeError):
    """A revision could not be checked out, installed or started; the message says why."""


@dataclass(frozen=True)
class RevisionShop(LocalShop):
    """A shop of a revision, asked through that revision's shopctl; ``found`` is its status when it was ready."""

    program: Path
    found: Json = field(repr=False)

    def status(self) -> Json:
        return self.found

    def audit(self) -> Json:
        answer = shopctl("audit", "--json", data_dir=self.data_dir, may_fail=True, program=self.program)
        found: Json = yaml.safe_load(answer)
        return found

    def down(self) -> None:
        shopctl("down", data_dir=self.data_dir, program=self.program)


@dataclass(frozen=True)
class Revision:
    """``name`` is its place in the comparison, ``commit`` its id, with ``+`` if files were changed since."""

    name: str
    commit: str
    root: Path
    program: Path

    def start(self, data_dir: Path, port: int) -> RevisionShop:
        """A new shop of this revision's sample on ``port``, without rate limits; returns once it sells."""
        resource = data_dir.with_suffix(".yaml")
        sample = self.root / "k8s" / "samples" / "bookshop.yaml"
        resource.write_text(yaml.safe_dump(shop_document(sample, env=CHEAP_PASSWORDS)), encoding="utf-8")
        known = _output([str(self.program), "up", "--help"], self.root, GIT_TIMEOUT_S)
        options = ["--no-ops"] if "--no-ops" in known else []
        options += ["--detach", "--port", str(port)]
        shopctl("up", str(resource), *options, data_dir=data_dir, timeout_s=UP_TIMEOUT_S, program=self.program)
        return self.running(data_dir)

    def compiled(self, data_dir: Path, port: int) -> None:
        """Have its modules compiled, by a start: one that compiles takes longer and leaves more memory in use."""
        self.start(data_dir, port).down()

    def running(self, data_dir: Path) -> RevisionShop:
        """The shop that runs in ``data_dir``, with its processes as they are now."""
        found = yaml.safe_load(shopctl("status", "--json", data_dir=data_dir, program=self.program))
        return RevisionShop(data_dir, self.program, found)


def head(root: Path = ROOT) -> Revision:
    """The files as they are here, in the environment of this process."""
    commit = _git(root, "rev-parse", "--short=8", "HEAD")
    changed = "+" if _git(root, "status", "--porcelain", "--untracked-files=no") else ""
    return Revision(HEAD, commit + changed, root, Path(sys.executable).with_name("shopctl"))


def base(name: str, root: Path = ROOT, bases: Path = BASES, *, install: bool = True) -> Revision:
    """The commit ``name`` in a folder below ``bases`` with its own environment; others there are removed."""
    commit = _git(root, "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")
    folder = bases / commit
    _git(root, "worktree", "prune")
    for other in bases.iterdir() if bases.exists() else ():
        if other != folder:
            _git(root, "worktree", "remove", "--force", str(other))
    if not folder.exists():
        _git(root, "worktree", "add", "--quiet", "--detach", str(folder), commit)
    if install:
        _output([os.environ.get("UV", "uv"), "sync", "--frozen", "--quiet"], folder, SYNC_TIMEOUT_S)
    return Revision(BASE, commit[:8], folder, folder / ".venv" / "bin" / "shopctl")


def _git(root: Path, *words: str) -> str:
    return _output(["git", "-C", str(root), *words], root, GIT_TIMEOUT_S).strip()


def _output(command: list[str], folder: Path, timeout_s: float) -> str:
    """What a command printed; RevisionFailed when it fails. It does not see this process' environment."""
    env = {name: value for name, value in os.environ.items() if name not in {"VIRTUAL_ENV", "UV_PROJECT_ENVIRONMENT"}}
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=env,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    except OSError as error:
        raise RevisionFailed(f"{command[0]}: {error}") from error
    if done.returncode:
        raise RevisionFailed(f"{' '.join(command)}: {(done.stderr or done.stdout).strip()[-1000:]}")
    return done.stdout
