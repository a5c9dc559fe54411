"""`shopctl simulate fleet`."""

import asyncio
import json
from pathlib import Path
from typing import Annotated

import typer

from shop.operator import console
from shop.operator.cli.options import DEFAULT_DATA_DIR, DataDirOption, JsonOption, data_folder
from shop.operator.errors import ShopctlError

app = typer.Typer(no_args_is_help=True, help="Simulate people who use a running shop.")


@app.callback()
def simulate() -> None:
    """Simulate people who use a running shop."""


@app.command()
def fleet(
    couriers: Annotated[int, typer.Option(min=1, max=500, help="Couriers on shift.")] = 20,
    orders_per_minute: Annotated[float, typer.Option(min=0.1, max=600, help="Orders of all customers together.")] = 30,
    minutes: Annotated[float, typer.Option(min=0.1, max=1_440, help="How long they order; Ctrl-C ends it all.")] = 60,
    seed: Annotated[int, typer.Option(min=0, help="Another one gives other people with other tastes.")] = 1,
    time_factor: Annotated[
        float | None,
        typer.Option(
            min=1,
            max=60,
            help="How much faster than real couriers ride and kitchens cook; default: as the couriers need it.",
            show_default=False,
        ),
    ] = None,
    country: Annotated[
        str,
        typer.Option(help="Of the customers' addresses, such as DE; default: the restaurant's.", show_default=False),
    ] = "",
    drain_minutes: Annotated[
        float, typer.Option(min=0, max=1_440, help="After that time, how long couriers finish what is under way.")
    ] = 30,
    url: Annotated[str, typer.Option(help="Another shop than the one on this machine.", show_default=False)] = "",
    admin_email: Annotated[str, typer.Option(help="The administrator of that shop.")] = "admin@shop.local",
    admin_password_file: Annotated[
        Path | None, typer.Option(help="File with that administrator's password; needed with --url.")
    ] = None,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
    as_json: JsonOption = False,
) -> None:
    """Drive couriers along the streets and order food like people do, through the shop's gateway."""
    from shop.operator.simulate.fleet import Plan, fitting_time_factor, reason
    from shop.operator.simulate.fleet import simulate as run
    from shop.operator.simulate.shop_api import RefusedError

    where, password = _shop(url, admin_password_file, data_dir)
    plan = Plan(
        url=where,
        admin_email=admin_email,
        admin_password=password,
        couriers=couriers,
        orders_per_minute=orders_per_minute,
        minutes=minutes,
        seed=seed,
        time_factor=time_factor or fitting_time_factor(couriers, orders_per_minute),
        country=country,
        drain_s=60 * drain_minutes,
    )
    try:
        summary = asyncio.run(run(plan, console.note if as_json else console.write))
    except RefusedError as error:
        raise ShopctlError(reason(error, where)) from error
    console.write(json.dumps(summary) if as_json else json.dumps(summary, indent=1))


def _shop(url: str, password_file: Path | None, data_dir: Path) -> tuple[str, str]:
    """The shop's address and the administrator's password."""
    from shop.operator.local import running_shop

    if bool(url) != bool(password_file):
        raise ShopctlError("--url and --admin-password-file belong together")
    if password_file is not None:
        return url, password_file.read_text(encoding="utf-8").strip()
    data = data_folder(data_dir)
    return str(running_shop.command(data, "status")["url"]), data.admin_password()
