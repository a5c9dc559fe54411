"""Commands that change or show a running shop: its components, its page, the version of shopctl."""

import importlib.metadata
import sys
import webbrowser
from typing import Annotated

import typer

from shop.operator import console
from shop.operator.cli_options import DEFAULT_DATA_DIR, DataDirOption, data_folder


def version(wanted: bool) -> None:
    if wanted:
        console.write(f"shopctl {importlib.metadata.version('shop-operator')}")
        raise typer.Exit


def stop(
    component: Annotated[str, typer.Argument(help="A service (pricing), an instance (order-2) or a store (nats).")],
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """Stop a component of the running shop and leave it stopped, to see what the others do without it."""
    from shop.operator.local import running

    answer = running.command(data_folder(data_dir), "stop", component=component)
    console.write(f"stopped: {', '.join(answer['components'])}")


def start(
    component: Annotated[str, typer.Argument(help="A component that was stopped.")],
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """Start a stopped component again and return once it is ready."""
    from shop.operator.local import running

    answer = running.command(data_folder(data_dir), "start", component=component)
    console.write(f"started: {', '.join(answer['components'])}")


def restart(
    component: Annotated[str, typer.Argument(help="A service (pricing), an instance (order-2) or a store (nats).")],
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """Stop a component of the running shop, start it again and return once it is ready."""
    from shop.operator.local import running

    data = data_folder(data_dir)
    running.command(data, "stop", component=component)
    answer = running.command(data, "start", component=component)
    console.write(f"restarted: {', '.join(answer['components'])}")


def open_shop(data_dir: DataDirOption = DEFAULT_DATA_DIR) -> None:
    """Open the running shop in a browser and print its address."""
    from shop.operator.local import running

    url = running.command(data_folder(data_dir), "status")["url"]
    console.write(url)
    if sys.stdout.isatty() and not webbrowser.open(url):
        console.note("No browser was found here: open the address yourself.")
