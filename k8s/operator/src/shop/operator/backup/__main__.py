"""`python -m shop.operator.backup push|pull|prune`: between a pod's folder of backups and a bucket.

Variables: PLACE (s3://BUCKET/path), FOLDER, the bucket's as `bucket.connect` names them; for push and prune SHOP and
KEEP (backups that stay, 0 is all); SAY_TO, a file that gets the sentence about the end, may be left out.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

import urllib3
from minio.error import MinioException

from shop.operator.backup.bucket import MANIFEST, NAME, Bucket, BucketError, connect

CHOSEN = "chosen"
UNFINISHED = "unfinished"


def push(environment: Mapping[str, str]) -> str:
    """Store the newest backup of the folder, then prune."""
    folder, bucket = Path(environment["FOLDER"]), Bucket(connect(environment), environment["PLACE"])
    whole = sorted(path.parent for path in folder.glob(f"*/{MANIFEST}") if NAME.fullmatch(path.parent.name))
    if not whole:
        raise BucketError(f"{folder} holds no complete backup")
    bucket.push(whole[-1])
    size = sum(path.stat().st_size for path in whole[-1].iterdir())
    pruned = prune(environment)
    return f"{whole[-1].name}: {size // 1024} KiB in {environment['PLACE']}" + (f"; {pruned}" if pruned else "")


def prune(environment: Mapping[str, str]) -> str:
    """Delete what is older than the newest KEEP backups of SHOP."""
    keep = int(environment.get("KEEP", "0"))
    if keep == 0:
        return ""
    gone = Bucket(connect(environment), environment["PLACE"]).prune(environment["SHOP"], keep)
    return f"deleted {', '.join(gone)}" if gone else ""


def pull(environment: Mapping[str, str]) -> str:
    """Download the backup to restore: the one that the restore began with, else the one in PLACE, else the newest."""
    folder, place = Path(environment["FOLDER"]), environment["PLACE"]
    begun, _, state = (folder / CHOSEN).read_text(encoding="utf-8").partition(" ")
    if begun and state != UNFINISHED:
        return f"restored from {begun} already"
    bucket = Bucket(connect(environment), place)
    name = ""
    if bucket.holds(MANIFEST):
        parent, _, name = place.rstrip("/").rpartition("/")
        bucket = Bucket(connect(environment), parent)
    if begun and name not in ("", begun):
        raise BucketError(f"the databases were begun from {begun}: restoring {name} over it would mix two backups")
    chosen = begun or name or bucket.newest()
    bucket.pull(chosen, folder)
    return f"{chosen} from {place}"


COMMANDS = {"push": push, "pull": pull, "prune": prune}


def main() -> None:
    """Carry out the command; what failed is one sentence and code 1."""
    if len(sys.argv) != 2 or sys.argv[1] not in COMMANDS:
        sys.exit(f"usage: python -m shop.operator.backup {'|'.join(COMMANDS)}")
    try:
        said = COMMANDS[sys.argv[1]](os.environ)
    except (BucketError, MinioException, urllib3.exceptions.HTTPError, OSError, ValueError) as error:
        sys.exit(f"{sys.argv[1]}: {' '.join(str(error).split())}")
    except KeyError as error:
        sys.exit(f"{sys.argv[1]}: the variable {error.args[0]} is not set")
    sys.stdout.write(f"{said}\n")
    if target := os.environ.get("SAY_TO"):
        Path(target).write_text(f"{said}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
