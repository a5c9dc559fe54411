"""shopctl: the program, with its commands in the order of its help."""

import importlib.metadata
from typing import Annotated

import typer

from shop.operator import console
from shop.operator.cli import (
    achievements,
    apply_shop,
    audit,
    backup,
    down,
    log_level,
    logs,
    plan,
    restart,
    retry,
    scale,
    simulate,
    status,
    suspend,
    up,
)
from shop.operator.cli import open as browser
from shop.operator.cli.options import BOTH, IN_CLUSTER

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def print_version(wanted: bool) -> None:
    if wanted:
        console.write(f"shopctl {importlib.metadata.version('shop-operator')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and end.", callback=print_version, is_eager=True)
    ] = False,
) -> None:
    """Run a whole shop on this machine, inspect and audit it; manage Shops in a cluster."""


app.command()(up.up)
app.command()(apply_shop.apply)
app.command(rich_help_panel=BOTH)(status.status)
app.command(rich_help_panel=BOTH)(logs.logs)
app.command(rich_help_panel=BOTH)(log_level.log_level)
app.command()(down.down)
app.command()(restart.stop)
app.command()(restart.start)
app.command()(restart.restart)
app.command()(scale.scale)
app.command("open")(browser.open_shop)
app.command(rich_help_panel=BOTH)(audit.audit)
app.command(rich_help_panel=BOTH)(backup.backup)
app.add_typer(simulate.app, name="simulate")
app.add_typer(achievements.app, name="achievements")
app.command(cls=plan.PlanCommand, rich_help_panel=IN_CLUSTER)(plan.plan)
app.command(rich_help_panel=IN_CLUSTER)(suspend.suspend)
app.command(rich_help_panel=IN_CLUSTER)(suspend.resume)
app.command(rich_help_panel=IN_CLUSTER)(retry.retry)


def main() -> None:
    """Run the command line."""
    console.run(app, "shopctl")
