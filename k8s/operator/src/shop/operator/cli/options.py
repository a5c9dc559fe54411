"""Options and checks that several commands share."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from shop.operator.cli.cluster_options import ClusterOptions
from shop.operator.errors import ShopctlError
from shop.operator.program import shopctl

if TYPE_CHECKING:
    from shop.operator.local.data_dir import DataDir

DataDirOption = Annotated[
    Path, typer.Option("--data-dir", help="Folder that holds everything the shop keeps.", show_default=True)
]
DEFAULT_DATA_DIR = Path(".shop")
BOTH, IN_CLUSTER = "Here, and with a NAME in a cluster", "In a cluster"
NameArgument = Annotated[
    str | None, typer.Argument(metavar="NAME", help="A Shop in a cluster; without it, the shop on this machine.")
]


def not_local(name: str, data_dir: Path, *other: str) -> None:
    for option in ["--data-dir"] if data_dir != DEFAULT_DATA_DIR else other:
        raise ShopctlError(f"{name} names a Shop in a cluster, and {option} is for another shop: use only one of them")


def only_local(command: str, where: ClusterOptions) -> None:
    if where.is_given:
        raise ShopctlError(
            f"which Shop? For one in a cluster: `{shopctl()} {command} NAME`, with NAME from `kubectl get shops`"
        )


def data_folder(path: Path) -> "DataDir":
    from shop.operator.local.data_dir import DataDir

    return DataDir(path)
