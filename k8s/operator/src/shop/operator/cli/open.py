"""`shopctl open`."""

import sys
import webbrowser
from typing import Annotated

import typer

from shop.operator import console
from shop.operator.cli.options import DEFAULT_DATA_DIR, DataDirOption, data_folder
from shop.operator.errors import ShopctlError
from shop.operator.program import shopctl

SHOP = "shop"


def open_shop(
    page: Annotated[
        str, typer.Argument(metavar="[PAGE]", help="dashboards or prometheus, with --observe; default: the shop.")
    ] = SHOP,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """Open the running shop, or its dashboards, in a browser and print the address."""
    from shop.operator.local import running_shop

    found = running_shop.command(data_folder(data_dir), "status")
    pages = {SHOP: found["url"], **{one["name"]: one["page"] for one in found["components"] if "page" in one}}
    if page not in pages:
        hint = "" if len(pages) > 1 else f"; `{shopctl()} up --observe` has a page of dashboards"
        raise ShopctlError(f"no page {page}; there is {', '.join(pages)}{hint}")
    console.write(pages[page])
    if sys.stdout.isatty() and not webbrowser.open(pages[page]):
        console.note("No browser found; open the address yourself.")
