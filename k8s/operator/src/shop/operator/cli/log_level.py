"""`shopctl log-level` and `kubectl shop log-level`."""

from collections.abc import Sequence
from typing import Annotated

import typer

from shop.kit.log_level import LEVELS
from shop.operator import console
from shop.operator.cli.options import (
    DEFAULT_DATA_DIR,
    ContextOption,
    DataDirOption,
    KubeconfigOption,
    NamespaceOption,
    ShopArgument,
    data_folder,
    not_local,
    only_local,
)
from shop.operator.cluster.cluster_options import ClusterOptions
from shop.operator.errors import ShopctlError
from shop.operator.program import shopctl
from shop.operator.services import SERVICES

LOCAL, CLUSTER = 2, 3
"""How many arguments there are."""
LevelArgument = Annotated[str, typer.Argument(metavar="LEVEL", help=", ".join(LEVELS), show_default=False)]


def log_level(
    arguments: Annotated[
        list[str],
        typer.Argument(
            metavar="[NAME] SERVICE LEVEL",
            help="order, or one instance: order-2. Level: " + ", ".join(LEVELS) + ". NAME is a Shop in a cluster.",
            show_default=False,
        ),
    ],
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    kubeconfig: KubeconfigOption = None,
) -> None:
    """Set which lines a running service writes to its log, until its process ends."""
    if len(arguments) == CLUSTER:
        not_local(arguments[0], data_dir)
        log_level_in_cluster(arguments[0], arguments[1], arguments[2], namespace, context, kubeconfig)
        return
    if len(arguments) != LOCAL:
        raise ShopctlError(
            f"{shopctl()} log-level SERVICE LEVEL is for the shop on this machine, "
            f"{shopctl()} log-level NAME SERVICE LEVEL for a Shop in a cluster"
        )
    only_local("log-level", ClusterOptions(namespace, context, kubeconfig))
    from shop.operator.local import running_shop

    service, level = arguments[0], _level(arguments[1])
    answer = running_shop.command(data_folder(data_dir), "log-level", component=service, level=level)
    console.write(_sentence(level, answer["components"]))


def log_level_in_cluster(
    name: ShopArgument,
    service: Annotated[str, typer.Argument(metavar="SERVICE", help="order, payment ...", show_default=False)],
    level: LevelArgument,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    kubeconfig: KubeconfigOption = None,
) -> None:
    """Set which lines the running pods of a service write to their logs, until they end."""
    from shop.operator.cluster import pod_log_level, session

    wanted = _level(level)
    if service not in SERVICES:
        raise ShopctlError(f"{service} is no service; there are {', '.join(SERVICES)}")
    where = ClusterOptions(namespace, context, kubeconfig)
    console.write(_sentence(wanted, session.run(where, lambda it: pod_log_level.choose(it, name, service, wanted))))


def _level(text: str) -> str:
    level = text.lower()
    if level not in LEVELS:
        raise ShopctlError(f"unknown level {text}; one of {', '.join(LEVELS)}")
    return level


def _sentence(level: str, processes: Sequence[str]) -> str:
    return f"log level {level}, until the process ends: {', '.join(processes)}"
