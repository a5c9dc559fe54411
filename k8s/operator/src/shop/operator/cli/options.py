"""Options, arguments and checks that several commands share."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from shop.operator.cluster.cluster_options import ClusterOptions
from shop.operator.errors import ShopctlError
from shop.operator.program import shopctl

if TYPE_CHECKING:
    from shop.operator.local.data_dir import DataDir

BOTH, IN_CLUSTER = "Here, and with a NAME in a cluster", "In a cluster"

DataDirOption = Annotated[
    Path, typer.Option("--data-dir", help="Folder that holds everything the shop keeps.", show_default=True)
]
DEFAULT_DATA_DIR = Path(".shop")
NameArgument = Annotated[
    str | None, typer.Argument(metavar="NAME", help="A Shop in a cluster; without it, the shop on this machine.")
]

ShopArgument = Annotated[str, typer.Argument(metavar="NAME", help="The Shop's name.", show_default=False)]
NamespaceOption = Annotated[
    str | None, typer.Option("--namespace", "-n", metavar="NAME", help="The Shop's namespace; default: the context's.")
]
ContextOption = Annotated[
    str | None, typer.Option("--context", metavar="NAME", help="A context of the kubeconfig; default: the current one.")
]
KubeconfigOption = Annotated[
    Path | None, typer.Option("--kubeconfig", metavar="FILE", help="Default: $KUBECONFIG, else ~/.kube/config.")
]

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
OperatorTimeoutOption = Annotated[float, typer.Option("--timeout", min=0, help="Seconds to wait for the operator.")]
OPERATOR_TIMEOUT_S = 30.0


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


def service_counts(option: str, given: list[str]) -> dict[str, int]:
    """By service, from words such as order=2; ShopctlError names ``option``."""
    counts = {}
    for item in given:
        noun, _, count = item.partition("=")
        if not noun or not count.isdigit():
            raise ShopctlError(f"{option} {item}: write SERVICE=N, for example order=2")
        counts[noun] = int(count)
    return counts
