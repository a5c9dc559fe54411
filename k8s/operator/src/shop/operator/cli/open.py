"""`shopctl open`."""

import sys
import webbrowser

from shop.operator import console
from shop.operator.cli.options import DEFAULT_DATA_DIR, DataDirOption, data_folder


def open_shop(data_dir: DataDirOption = DEFAULT_DATA_DIR) -> None:
    """Open the running shop in a browser and print its address."""
    from shop.operator.local import running_shop

    url = running_shop.command(data_folder(data_dir), "status")["url"]
    console.write(url)
    if sys.stdout.isatty() and not webbrowser.open(url):
        console.note("No browser found; open the address yourself.")
