"""`shopctl logs` and `kubectl shop logs`."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

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

if TYPE_CHECKING:
    from shop.operator.local.data_dir import DataDir

DEFAULT_LINES = 50
FollowOption = Annotated[bool, typer.Option("--follow", "-f", help="Follow: also print new lines.")]
LongNamespaceOption = Annotated[
    str | None, typer.Option("--namespace", metavar="NAME", help="The Shop's namespace; default: the context's.")
]
LinesOption = Annotated[
    int | None, typer.Option("--lines", min=0, help="Lines from the end of each log; default 50, chosen ones all.")
]


def logs(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME", help="order, order-1, postgres, supervisor ...; default: all. Or a Shop in a cluster."
        ),
    ] = None,
    service: Annotated[
        str | None, typer.Argument(metavar="SERVICE", help="Of a Shop in a cluster: order, postgres ...")
    ] = None,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
    follow: FollowOption = False,
    lines: LinesOption = None,
    since: Annotated[str | None, typer.Option(metavar="10m", help="Here: what is younger; s, m, h or d.")] = None,
    level: Annotated[str | None, typer.Option(help="Here: debug, info, warning, error; what is as serious.")] = None,
    trace: Annotated[str | None, typer.Option(metavar="ID", help="Here: what belongs to a request or order.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Here: one JSON object per line.")] = False,
    short: Annotated[
        str | None, typer.Option("-n", metavar="N|NAME", help="A number is short for --lines, a name for --namespace.")
    ] = None,
    namespace: LongNamespaceOption = None,
    context: ContextOption = None,
    kubeconfig: KubeconfigOption = None,
) -> None:
    """Print the last log lines of the shop on this machine, or of a Shop's pods in a cluster."""
    if short is not None and short.isdigit():
        lines, short = int(short), None
    where = ClusterOptions(namespace or short, context, kubeconfig)
    chosen = {"--since": since, "--level": level, "--trace": trace, "--json": as_json}
    if name is not None and (service is not None or where.is_given or not _is_local_log(data_dir, name)):
        not_local(name, data_dir)
        _refuse_unknown_log(name, service, where, data_folder(data_dir))
        _refuse_choice(name, chosen)
        some = DEFAULT_LINES if lines is None else lines
        logs_in_cluster(name, service, where.namespace, context, kubeconfig, follow, some)
        return
    only_local("logs", where)
    from shop.operator.local import log_view

    chosen_entries = log_view.log_filter(since, level, trace)
    if lines is None:
        lines = DEFAULT_LINES if chosen_entries.is_all else log_view.MAX_LINES
    log_view.show(data_folder(data_dir), name, chosen_entries, lines, as_json=as_json, follow=follow)


def logs_in_cluster(
    name: ShopArgument,
    service: Annotated[
        str | None, typer.Argument(metavar="SERVICE", help="order, postgres, migrate ...; default: all")
    ] = None,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    kubeconfig: KubeconfigOption = None,
    follow: FollowOption = False,
    lines: Annotated[int, typer.Option("--lines", min=0, help="Lines from the end of each log.")] = DEFAULT_LINES,
) -> None:
    """Print the end of the logs of a Shop's pods, each line with its pod."""
    from shop.operator.cluster import actions

    actions.logs(ClusterOptions(namespace, context, kubeconfig), name, service, lines, follow)


def _refuse_choice(name: str, chosen: Mapping[str, object]) -> None:
    for option in (option for option, value in chosen.items() if value):
        raise ShopctlError(f"{option} is for the shop on this machine, and {name} names a Shop in a cluster")


def _is_local_log(data_dir: Path, name: str) -> bool:
    """Whether the shop on this machine has or could have such a log; any other name is a Shop in a cluster."""
    from shop.operator.local.log_files import SERVERS
    from shop.operator.services import SERVICES

    base, _, number = name.rpartition("-")
    noun = base if number.isdigit() else name
    written = data_dir != DEFAULT_DATA_DIR or (data_dir / "logs" / f"{name}.log").exists()
    return written or noun in (*SERVICES, *SERVERS, "supervisor")


def _refuse_unknown_log(name: str, service: str | None, where: ClusterOptions, data: "DataDir") -> None:
    """With a shop here and no cluster configured, the name must be one of the shop's logs."""
    from shop.operator.local import running_shop

    named = [part for part in os.environ.get("KUBECONFIG", "").split(os.pathsep) if part]
    has_cluster = bool(named) or (Path.home() / ".kube" / "config").exists()
    if service is None and not where.is_given and data.exists and not has_cluster:
        running_shop.log_files(data, name)
