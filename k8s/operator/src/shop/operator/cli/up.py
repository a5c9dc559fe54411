"""`shopctl up`."""

import os
from pathlib import Path
from typing import Annotated

import typer

from shop.operator import console
from shop.operator.cli.options import DEFAULT_DATA_DIR, DataDirOption, data_folder, service_counts
from shop.operator.errors import ShopctlError
from shop.operator.program import CHECKOUT, shopctl

DEFAULT_PORT = 8080
SAMPLE = CHECKOUT / "k8s" / "samples" / "bookshop.yaml"


def up(
    shop_file: Annotated[
        Path | None, typer.Argument(metavar="[SHOP.yaml]", help="The Shop; default: ./shop.yaml, else the last one.")
    ] = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Where the shop is reached.")] = DEFAULT_PORT,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
    replicas: Annotated[
        list[str] | None, typer.Option(metavar="SERVICE=N", help="Processes of a service, e.g. order=2; repeatable.")
    ] = None,
    detach: Annotated[
        bool, typer.Option("--detach", "-d", help="Return once the shop is ready; it keeps running.")
    ] = False,
    observe: Annotated[
        bool, typer.Option("--observe", help="With a Prometheus that scrapes the shop and evaluates its alerts.")
    ] = False,
    ops: Annotated[bool, typer.Option(help="Also the control room, at /ops: it records traces.")] = True,
    restore_from: Annotated[
        Path | None, typer.Option(help="Backup, or folder of backups, that a new shop begins with; see `backup`.")
    ] = None,
) -> None:
    """Start the shop: stores, services, catalogue. Ctrl-C stops it; its data is kept."""
    from shop.operator.local import requirements

    requirements.check()
    from shop.operator.local import shop_process
    from shop.operator.local.shop import Options
    from shop.operator.resource import shopfile

    if observe:
        from shop.operator.local import monitoring

        monitoring.check()
    path = _shop_file(shop_file, data_dir)
    shop = shopfile.load(path).with_module("ops", on=ops)
    counts = service_counts("--replicas", replicas or [])
    options = Options(shop, data_dir, port, counts, restore_from, path.read_bytes(), observe)
    report = os.environ.pop(shop_process.REPORT_VARIABLE, None)
    if report is not None:
        shop_process.supervise(options, int(report))
    elif detach:
        asked = [f"--replicas={noun}={count}" for noun, count in options.replicas.items()]
        asked += [] if ops else ["--no-ops"]
        asked += [f"--restore-from={restore_from}"] if restore_from else []
        asked += ["--observe"] if observe else []
        shop_process.detach([str(path), f"--port={port}", f"--data-dir={data_dir}", *asked], data_dir, str(data_dir))
    else:
        shop_process.foreground(options, str(data_dir))


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
