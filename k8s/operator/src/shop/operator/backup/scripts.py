"""Run the scripts of charts/shop/files/backup on this machine with the programs of the embedded PostgreSQL.

A cluster runs the same files in the containers of its CronJob and its restore Job.
"""

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

from shop.devkit.embedded import POSTGRES_BIN
from shop.devkit.processes import package_file, write_private
from shop.operator.errors import ShopctlError

CHARTS_VARIABLE = "SHOP_OPERATOR_CHARTS"
RUN_TIMEOUT_S = 3_600.0
END_TIMEOUT_S = 15.0


def folder() -> Path:
    """Where the scripts are; raises `ShopctlError` where shopctl was installed without the charts."""
    charts = Path(os.environ.get(CHARTS_VARIABLE) or Path(__file__).parents[6] / "charts")
    found = charts / "shop" / "files" / "backup"
    if not found.is_dir():
        raise ShopctlError(f"no backup scripts in {found}: name the folder of the charts in {CHARTS_VARIABLE}")
    return found


def backup(urls: Mapping[str, str], target: Path, *, shop: str, version: str, keep: int = 0) -> str:
    """Dump the databases at `urls` (noun to URL) into a folder of its own in `target`; returns its output."""
    given = {"TARGET": str(target.absolute()), "SHOP": shop, "SHOP_VERSION": version, "KEEP": str(keep)}
    return run("backup.sh", urls, given)


def restore(urls: Mapping[str, str], source: Path) -> str:
    """Fill the empty databases at `urls` from the backup `source`, or from the newest one in that folder."""
    if not source.is_dir():
        raise ShopctlError(f"no backup in {source}: it is no folder")
    return run("restore.sh", urls, {"SOURCE": str(source.absolute())})


def run(
    script: str, urls: Mapping[str, str], given: Mapping[str, str], scripts: Path | None = None, *arguments: str
) -> str:
    """What `script` printed; raises `ShopctlError` with its error output. `scripts` is the folder to take it from."""
    with _environment(urls) as environment:
        process = subprocess.Popen(
            ["sh", str((scripts or folder()) / script), *arguments],
            env={**environment, **given},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            out, err = process.communicate(timeout=RUN_TIMEOUT_S)
        except BaseException as error:
            _end(process)
            if isinstance(error, subprocess.TimeoutExpired):
                raise ShopctlError(f"{script} took longer than {RUN_TIMEOUT_S:g} s") from error
            raise
    if process.returncode != 0:
        raise ShopctlError(err.strip() or out.strip() or f"{script} ended with code {process.returncode}")
    return out.strip()


def _end(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.communicate(timeout=END_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()


@contextlib.contextmanager
def _environment(urls: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """Variables for a script. Passwords are in a file, since every user of a machine sees a command's arguments."""
    work = Path(tempfile.mkdtemp(prefix="shop-backup-"))
    try:
        passwords = work / "pgpass"
        write_private(passwords, "".join(map(_password_line, urls.values())))
        programs = package_file(*POSTGRES_BIN, "psql").parent
        yield {
            "PATH": f"{programs}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
            "TMPDIR": str(work),
            "LC_ALL": "C.UTF-8",
            "PGPASSFILE": str(passwords),
            "NOUNS": " ".join(urls),
            **{f"URL_{noun.upper()}": _without_password(url) for noun, url in urls.items()},
        }
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _password_line(url: str) -> str:
    parts = urlsplit(url)
    values = (parts.hostname, parts.port, parts.path.lstrip("/"), parts.username, unquote(parts.password or ""))
    return ":".join(str(value).replace("\\", "\\\\").replace(":", "\\:") for value in values) + "\n"


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=f"{parts.username}@{host}").geturl()
