"""`shopctl scale`."""

from typing import Annotated

import typer

from shop.operator import console
from shop.operator.cli.options import DEFAULT_DATA_DIR, DataDirOption, data_folder, service_counts


def scale(
    counts: Annotated[list[str], typer.Argument(metavar="SERVICE=N...", help="Processes of a service, e.g. order=3.")],
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """Change the number of a service's processes while the shop runs; return once all are ready."""
    from shop.operator.local import running_shop

    data = data_folder(data_dir)
    for noun, count in service_counts("scale", counts).items():
        found = running_shop.command(data, "scale", service=noun, count=count)["components"]
        console.write(f"{noun}: {', '.join(found)}")
