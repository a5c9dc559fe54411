"""Apply the rules of achievements to the past of the shop on this machine, with the settings that its service has."""

import os
import subprocess
import sys
from collections.abc import Mapping

from shop.devkit.embedded import PostgresStore
from shop.operator.errors import ShopctlError
from shop.operator.local.assembly import database_url
from shop.operator.local.data_dir import DataDir
from shop.operator.local.instances import store_json
from shop.operator.resource import shopfile

NOUN = "achievement"
PROGRAM = "shop.achievement.apply"
PREFIX = f"{NOUN}: "


def apply(data: DataDir) -> str:
    """What was done, in one line; raises `ShopctlError` when it cannot be done."""
    command = [sys.executable, "-m", PROGRAM]
    ended = subprocess.run(command, env=_environment(data), capture_output=True, text=True, check=False)
    if ended.returncode:
        lines = ended.stderr.strip().splitlines() or [f"{PROGRAM} ended with code {ended.returncode}"]
        raise ShopctlError(lines[-1].removeprefix(PREFIX))
    return ended.stdout.strip()


def _environment(data: DataDir) -> Mapping[str, str]:
    if not data.is_locked():
        raise data.not_running()
    if NOUN not in data.databases():
        raise ShopctlError(f"the shop in {data.path} has no achievements; spec.modules.arcade: true turns them on")
    spec = shopfile.load(data.shop_file).spec
    ports = {one["name"]: one["port"] for one in data.read_state().get("components", [])}
    postgres = PostgresStore(data.store("postgres"), port=ports["postgres"])
    return {
        **os.environ,
        **spec.service(NOUN).env,
        "SHOP_STORE": store_json(spec),
        "SHOP_DATABASE_URL": database_url(data, postgres, NOUN),
    }
