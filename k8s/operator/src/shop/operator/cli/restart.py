"""`shopctl stop`, `start` and `restart`, of a component of the running shop."""

from pathlib import Path
from typing import Annotated

import typer

from shop.operator import console
from shop.operator.cli.options import DEFAULT_DATA_DIR, DataDirOption, data_folder

ComponentArgument = Annotated[str, typer.Argument(help="A service (pricing), an instance (order-2) or a store (nats).")]


def stop(component: ComponentArgument, data_dir: DataDirOption = DEFAULT_DATA_DIR) -> None:
    """Stop a component of the running shop and leave it stopped."""
    console.write(f"stopped: {_carry_out('stop', component, data_dir)}")


def start(
    component: Annotated[str, typer.Argument(help="A component that was stopped.")],
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """Start a stopped component again and return once it is ready."""
    console.write(f"started: {_carry_out('start', component, data_dir)}")


def restart(component: ComponentArgument, data_dir: DataDirOption = DEFAULT_DATA_DIR) -> None:
    """Restart a component of the running shop and return once it is ready.

    The processes of a service are restarted one after the other, so that with several of them no request fails.
    """
    console.write(f"restarted: {_carry_out('restart', component, data_dir)}")


def _carry_out(action: str, component: str, data_dir: Path) -> str:
    """The components that the running shop has stopped, started or restarted."""
    from shop.operator.local import running_shop

    return ", ".join(running_shop.command(data_folder(data_dir), action, component=component)["components"])
