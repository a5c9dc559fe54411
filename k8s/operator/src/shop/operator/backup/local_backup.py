"""Backups of the shop on this machine."""

from importlib.metadata import version
from pathlib import Path

from shop.devkit.embedded import PostgresStore
from shop.operator.backup import scripts
from shop.operator.errors import ShopctlError
from shop.operator.local.assembly import database_url
from shop.operator.local.data_dir import DataDir

DISTRIBUTION = "shop-operator"


def take(data: DataDir, target: Path, keep: int) -> str:
    """Back up the shop that runs in `data` into a folder of its own in `target`; returns the sentence about it."""
    if not data.is_locked():
        raise data.not_running()
    ports = {one["name"]: one["port"] for one in data.read_state().get("components", [])}
    if "postgres" not in ports:
        raise ShopctlError(f"the shop in {data.path} has not started yet")
    postgres = PostgresStore(data.store("postgres"), port=ports["postgres"])
    urls = {noun: database_url(data, postgres, noun) for noun in data.databases()}
    return scripts.backup(urls, target, shop=data.name(), version=version(DISTRIBUTION), keep=keep)
