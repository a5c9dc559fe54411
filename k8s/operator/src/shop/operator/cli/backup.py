"""`shopctl backup` and `kubectl shop backup`."""

from pathlib import Path
from typing import Annotated

import typer

from shop.operator import console
from shop.operator.cli.options import (
    DEFAULT_DATA_DIR,
    ContextOption,
    DataDirOption,
    KubeconfigOption,
    NameArgument,
    NamespaceOption,
    ShopArgument,
    data_folder,
    not_local,
    only_local,
)
from shop.operator.cluster.cluster_options import ClusterOptions
from shop.operator.errors import ShopctlError
from shop.operator.program import shopctl

TIMEOUT_S = 3_600.0
TimeoutOption = Annotated[float, typer.Option("--timeout", min=1, help="Seconds to wait for its end.")]


def backup(
    name: NameArgument = None,
    to: Annotated[Path | None, typer.Option(help="Folder of backups, for the shop on this machine.")] = None,
    keep: Annotated[int, typer.Option(min=0, help="Backups kept in that folder; 0 keeps all.")] = 0,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    kubeconfig: KubeconfigOption = None,
    timeout: TimeoutOption = TIMEOUT_S,
) -> None:
    """Back up every database of the running shop as of one moment; `up --restore-from` begins with it.

    Of a Shop in a cluster: now, to where its spec.backup says; returns when it is done.
    """
    if name is not None:
        not_local(name, data_dir, *(["--to"] if to else []))
        backup_in_cluster(name, namespace, context, kubeconfig, timeout)
        return
    only_local("backup", ClusterOptions(namespace, context, kubeconfig))
    if to is None:
        program = shopctl()
        raise ShopctlError(
            f"where to? `{program} backup --to FOLDER`, or `{program} backup NAME` for a Shop in a cluster"
        )
    from shop.operator.backup import local_backup

    console.write(local_backup.take(data_folder(data_dir), to, keep))


def backup_in_cluster(
    name: ShopArgument,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    kubeconfig: KubeconfigOption = None,
    timeout: TimeoutOption = TIMEOUT_S,
) -> None:
    """Back up a Shop now, to where its spec.backup says, and wait until it is done."""
    from shop.operator.cluster import actions

    actions.backup(ClusterOptions(namespace, context, kubeconfig), name, timeout)
