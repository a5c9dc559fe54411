"""shopctl: run a whole shop on this machine, inspect and audit it, and manage Shops in a cluster."""

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shop.operator import console
from shop.operator.cli import components, logs
from shop.operator.cli import kubectl_shop as cluster
from shop.operator.cli.cluster_options import (
    ClusterOptions,
    ContextOption,
    KubeconfigOption,
    NamespaceOption,
)
from shop.operator.cli.options import (
    BOTH,
    DEFAULT_DATA_DIR,
    IN_CLUSTER,
    DataDirOption,
    NameArgument,
    data_folder,
    not_local,
    only_local,
)
from shop.operator.errors import ShopctlError
from shop.operator.program import shopctl

if TYPE_CHECKING:
    from shop.operator.local.data_dir import DataDir

DEFAULT_PORT = 8080
EXIT_REFUSED = 2
SAMPLE = Path(__file__).parents[6] / "k8s" / "samples" / "bookshop.yaml"

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and end.", callback=components.version, is_eager=True)
    ] = False,
) -> None:
    """Run a whole shop on this machine, inspect and audit it; manage Shops in a cluster."""


@app.command()
def up(
    shop_file: Annotated[
        Path | None, typer.Argument(metavar="[SHOP.yaml]", help="The Shop; default: ./shop.yaml, else the last one.")
    ] = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="ClusterOptions the shop is reached.")] = DEFAULT_PORT,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
    replicas: Annotated[
        list[str] | None, typer.Option(metavar="SERVICE=N", help="Processes of a service, e.g. order=2; repeatable.")
    ] = None,
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Return once the shop is ready; it keeps running.")
    ] = False,
    restore_from: Annotated[
        Path | None, typer.Option(help="Backup, or folder of backups, that a new shop begins with; see `backup`.")
    ] = None,
) -> None:
    """Start the shop: stores, services, catalogue. Ctrl-C stops it; its data is kept."""
    from shop.operator.local import requirements

    requirements.check()
    from shop.operator.local import shop_process as local
    from shop.operator.local.shop import Options
    from shop.operator.resource import shopfile

    path = _shop_file(shop_file, data_dir)
    shop = shopfile.load(path)
    options = Options(shop, data_dir, port, _replicas(replicas or []), restore_from, path.read_bytes())
    report = os.environ.pop(local.REPORT_VARIABLE, None)
    if report is not None:
        local.supervise(options, int(report))
    elif detach:
        asked = [f"--replicas={noun}={count}" for noun, count in options.replicas.items()]
        asked += [f"--restore-from={restore_from}"] if restore_from else []
        local.detach([str(path), f"--port={port}", f"--data-dir={data_dir}", *asked], data_dir, str(data_dir))
    else:
        local.foreground(options, str(data_dir))


def _shop_file(given: Path | None, data_dir: Path) -> Path:
    """The file that was given, else ./shop.yaml, else the one that the data folder's shop was last started with."""
    if given is not None:
        return given
    stored = data_folder(data_dir).shop_file
    if stored.is_file() and not Path("shop.yaml").exists():
        console.note(f"No Shop given: using the stored one, {stored}")
        return stored
    found = next((path for path in (Path("shop.yaml"), SAMPLE) if path.exists()), None)
    if found is None:
        raise ShopctlError(f"no shop.yaml here; name a Shop: `{shopctl()} up SHOP.yaml`")
    return found


def _replicas(given: list[str]) -> dict[str, int]:
    counts = {}
    for item in given:
        noun, _, count = item.partition("=")
        if not noun or not count.isdigit():
            raise ShopctlError(f"--replicas {item}: write SERVICE=N, for example order=2")
        counts[noun] = int(count)
    return counts


@app.command(rich_help_panel=BOTH)
def status(
    name: NameArgument = None,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
    as_json: cluster.JsonOption = False,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    kubeconfig: KubeconfigOption = None,
) -> None:
    """Show the components: health, pids, ports, restarts and memory. Code 1 when something is not healthy.

    Of a Shop in a cluster: conditions, services, problems, events; code 1 when it is not Ready.
    """
    if name is not None:
        not_local(name, data_dir)
        cluster.status(name, namespace, context, kubeconfig, as_json)
    else:
        only_local("status", ClusterOptions(namespace, context, kubeconfig))
        _local_status(data_dir, as_json)


def _local_status(data_dir: Path, as_json: bool) -> None:
    from shop.operator.local import running

    found = running.status(data_folder(data_dir))
    if as_json:
        console.write(json.dumps(found, indent=1))
    else:
        console.write(_status_table(found))
    if not all(component["healthy"] for component in found["components"]):
        raise typer.Exit(1)


def _status_table(found: dict[str, Any]) -> str:
    supervisor = found["supervisor"]
    rows = [("COMPONENT", "STATE", "PID", "PORT", "RESTARTS", "MEMORY")]
    for one in found["components"]:
        state = _state(one)
        numbers = (str(one["pid"] or "-"), str(one["port"]), str(one["restarts"]), _mebibytes(one["memory_bytes"]))
        rows.append((one["name"], state, *numbers))
    memory = _mebibytes(supervisor["memory_bytes"])
    rows.append(("supervisor", found["phase"], str(supervisor["pid"]), "-", "0", memory))
    total = supervisor["memory_bytes"] + sum(one["memory_bytes"] for one in found["components"])
    details = [f"{one['name']}: {one['detail']}" for one in found["components"] if one["detail"]]
    return "\n".join(
        [console.table(rows), *details, "", f"{found['url']}  {found['data_dir']}  {_mebibytes(total)} in total"]
    )


def _state(component: dict[str, Any]) -> str:
    """Degraded: it works in part; its detail says what does not."""
    if component["state"] != "ready":
        return str(component["state"])
    return "not ready" if not component["healthy"] else "degraded" if component["detail"] else "ready"


def _mebibytes(size: int) -> str:
    return f"{size / (1 << 20):.0f} MiB"


app.command(rich_help_panel=BOTH)(logs.logs)


@app.command()
def down(
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
    delete_data: Annotated[
        bool, typer.Option("--delete-data", help="Also delete the shop's data permanently.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Delete without asking.")] = False,
) -> None:
    """Stop a shop that runs in the background (or in another terminal)."""
    from shop.operator.local import running

    data = data_folder(data_dir)
    if delete_data and not yes and data.path.exists():
        _confirm_deletion(data)
    ran = running.down(data, delete_data)
    console.write(
        ("The shop has stopped" if ran else f"No shop ran in {data.path}")
        + ("; its data is deleted." if delete_data else ".")
    )


def _confirm_deletion(data: "DataDir") -> None:
    """Ask at the terminal; without one, refuse with code 2."""
    if not sys.stdin.isatty():
        console.note(f"shopctl: {data.path} is deleted only with --yes: {data.command('down --delete-data --yes')}")
        raise typer.Exit(EXIT_REFUSED)
    typer.confirm(f"Delete the shop {data.name()} and everything in {data.path} for good?", abort=True, err=True)


app.command()(components.stop)
app.command()(components.start)
app.command()(components.restart)
app.command("open")(components.open_shop)


@app.command(rich_help_panel=BOTH)
def audit(
    name: NameArgument = None,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
    as_json: cluster.JsonOption = False,
    settle_seconds: cluster.SettleOption = cluster.SETTLE_S,
    order_deadline_seconds: cluster.DeadlineOption = cluster.ORDER_DEADLINE_S,
    wait: cluster.WaitOption = 0.0,
    acknowledged: cluster.AcknowledgedOption = None,
    database_url: Annotated[
        str,
        typer.Option(
            envvar="SHOP_AUDIT_DATABASE_URL",
            help="Audit another shop: the URL of its databases,"
            " with {noun} for the service. Better set as a variable: others see a command's arguments.",
        ),
    ] = "",
    nats_url: Annotated[
        str,
        typer.Option(envvar="SHOP_AUDIT_NATS_URL", help="The broker of that other shop; needed with --database-url."),
    ] = "",
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    kubeconfig: KubeconfigOption = None,
) -> None:
    """Check the invariants: no order lost, nothing oversold, nobody charged twice. Code 1 when one is violated."""
    from shop.operator.audit.model import Options
    from shop.operator.cluster import actions
    from shop.operator.local import audit_target

    options = Options(settle_seconds, order_deadline_seconds, audit_target.acknowledged(acknowledged))
    where = ClusterOptions(namespace, context, kubeconfig)
    elsewhere = database_url or nats_url
    if name is not None:
        not_local(name, data_dir, *(["--database-url"] if elsewhere else []))
        actions.audit(where, name, options, wait, as_json)
        return
    only_local("audit", where)
    target = audit_target.elsewhere(database_url, nats_url) if elsewhere else audit_target.target(data_folder(data_dir))
    if not audit_target.run(target, options, wait, as_json):
        raise typer.Exit(1)


@app.command(rich_help_panel=BOTH)
def backup(
    name: NameArgument = None,
    to: Annotated[Path | None, typer.Option(help="Folder of backups, for the shop on this machine.")] = None,
    keep: Annotated[int, typer.Option(min=0, help="Backups kept in that folder; 0 keeps all.")] = 0,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
    namespace: NamespaceOption = None,
    context: ContextOption = None,
    kubeconfig: KubeconfigOption = None,
    timeout: cluster.BackupTimeoutOption = cluster.BACKUP_TIMEOUT_S,
) -> None:
    """Back up every database of the running shop as of one moment; `up --restore-from` begins with it.

    Of a Shop in a cluster: now, to where its spec.backup says; returns when it is done.
    """
    if name is not None:
        not_local(name, data_dir, *(["--to"] if to else []))
        cluster.backup(name, namespace, context, kubeconfig, timeout)
        return
    only_local("backup", ClusterOptions(namespace, context, kubeconfig))
    if to is None:
        program = shopctl()
        raise ShopctlError(
            f"where to? `{program} backup --to FOLDER`, or `{program} backup NAME` for a Shop in a cluster"
        )
    from shop.operator.backup import local_backup

    console.write(local_backup.take(data_folder(data_dir), to, keep))


app.command(cls=cluster.PlanCommand, rich_help_panel=IN_CLUSTER)(cluster.plan)
for command in (cluster.suspend, cluster.resume, cluster.retry):
    app.command(rich_help_panel=IN_CLUSTER)(command)


def main() -> None:
    """Run the command line."""
    console.run(app, "shopctl")
