"""`shopctl apply`."""

from pathlib import Path
from typing import Annotated

import typer

from shop.operator import console
from shop.operator.cli.options import DEFAULT_DATA_DIR, DataDirOption, data_folder
from shop.operator.program import shell_word


def apply(
    shop_file: Annotated[Path, typer.Argument(metavar="SHOP.yaml", help="The Shop as it is to be.")],
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """Change the running shop: modules, settings, numbers of processes. Data of a module that is off is kept.

    Returns once the shop runs as the file says. Stores go on; only services that have new settings start again.
    A shop that does not run is not changed: `up SHOP.yaml` starts it as the file says.
    """
    from shop.operator.local import running_shop
    from shop.operator.resource import shopfile

    shopfile.load(shop_file)
    text = shop_file.read_text(encoding="utf-8")
    up = f"up {shell_word(str(shop_file))}"
    changed = running_shop.command(data_folder(data_dir), "apply", up=up, shop=text)["services"]
    console.write(f"changed: {', '.join(changed)}" if changed else "The shop runs like this already.")
