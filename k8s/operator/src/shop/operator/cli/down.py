"""`shopctl down`."""

import sys
from typing import Annotated

import typer

from shop.operator import console
from shop.operator.cli.options import DEFAULT_DATA_DIR, DataDirOption, data_folder

EXIT_REFUSED = 2


def down(
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
    delete_data: Annotated[
        bool, typer.Option("--delete-data", help="Also delete the shop's data permanently.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Delete without asking.")] = False,
) -> None:
    """Stop a shop that runs in the background (or in another terminal)."""
    from shop.operator.local import running_shop

    data = data_folder(data_dir)
    if delete_data and not yes and data.path.exists():
        if not sys.stdin.isatty():
            console.note(f"shopctl: {data.path} is deleted only with --yes: {data.command('down --delete-data --yes')}")
            raise typer.Exit(EXIT_REFUSED)
        typer.confirm(f"Delete the shop {data.name()} and everything in {data.path} for good?", abort=True, err=True)
    ran = running_shop.down(data, delete_data)
    console.write(
        ("The shop has stopped" if ran else f"No shop ran in {data.path}")
        + ("; its data is deleted." if delete_data else ".")
    )
