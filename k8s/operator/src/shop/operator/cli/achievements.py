"""`shopctl achievements apply`."""

import typer

from shop.operator import console
from shop.operator.cli.options import DEFAULT_DATA_DIR, DataDirOption, data_folder

app = typer.Typer(no_args_is_help=True, help="The achievements of a running shop with the module arcade.")


@app.callback()
def achievements() -> None:
    """The achievements of a running shop with the module arcade."""


@app.command()
def apply(data_dir: DataDirOption = DEFAULT_DATA_DIR) -> None:
    """Apply the rules to what players did in the past, after rules were added or changed.

    What is unlocked by it is announced once. May be repeated, and run while customers play and buy.
    """
    from shop.operator.local import achievement_rules as local

    console.write(local.apply(data_folder(data_dir)))
