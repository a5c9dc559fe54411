"""shopctl: run a whole shop on this machine, look at it, break it, and audit it.

Every command imports what it needs itself, so that `--help` and `status` are quick.
"""

import sys

if sys.version_info < (3, 12):  # noqa: UP036 - the message is for those who start it without its package manager
    sys.exit("shopctl needs Python 3.12 or newer; `uv python install 3.13` brings one")

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from shop.kit.processes import EmbeddedError
from shop.operator.errors import ShopctlError

if TYPE_CHECKING:
    from shop.operator.local.layout import DataDir

app = typer.Typer(
    help="Run a whole shop on this machine, look at it, break it, and audit it.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

DEFAULT_PORT = 8080
DEFAULT_LOG_LINES = 50
SAMPLE = Path(__file__).parents[5] / "k8s" / "samples" / "bookshop.yaml"

DataDirOption = Annotated[
    Path, typer.Option("--data-dir", help="Folder that holds everything the shop keeps.", show_default=True)
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
DEFAULT_DATA_DIR = Path(".shop")


@app.command()
def up(
    shop_file: Annotated[
        Path | None, typer.Argument(metavar="[SHOP.yaml]", help="The Shop; default: ./shop.yaml, else the bookshop.")
    ] = None,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Where the shop is reached.")] = DEFAULT_PORT,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
    replicas: Annotated[
        list[str] | None, typer.Option(metavar="SERVICE=N", help="Processes of a service, e.g. order=2; repeatable.")
    ] = None,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Return once the shop sells; it goes on.")] = False,
) -> None:
    """Start the shop: stores, services, catalogue. Ctrl-C ends it, its data stays for the next time."""
    from shop.operator import shopfile
    from shop.operator.local import up as local
    from shop.operator.local.shop import Options

    path = _shop_file(shop_file)
    options = Options(shopfile.load(path), data_dir, port, _replicas(replicas or []))
    report = os.environ.pop(local.REPORT_VARIABLE, None)
    if report is not None:
        local.supervise(options, int(report))
    elif detach:
        asked = [f"--replicas={noun}={count}" for noun, count in options.replicas.items()]
        local.detach([str(path), f"--port={port}", f"--data-dir={data_dir}", *asked], data_dir, str(data_dir))
    else:
        local.foreground(options, str(data_dir))


def _shop_file(given: Path | None) -> Path:
    if given is not None:
        return given
    found = next((path for path in (Path("shop.yaml"), SAMPLE) if path.exists()), None)
    if found is None:
        raise ShopctlError("no shop.yaml here; name a Shop: `shopctl up SHOP.yaml`")
    return found


def _replicas(given: list[str]) -> dict[str, int]:
    counts = {}
    for item in given:
        noun, _, count = item.partition("=")
        if not noun or not count.isdigit():
            raise ShopctlError(f"--replicas {item}: write SERVICE=N, for example order=2")
        counts[noun] = int(count)
    return counts


@app.command()
def status(data_dir: DataDirOption = DEFAULT_DATA_DIR, as_json: JsonOption = False) -> None:
    """Show what runs: health, pids, ports, restarts and memory. Code 1 when something is not healthy."""
    from shop.operator.local import running

    found = running.status(_data(data_dir))
    if as_json:
        _print(json.dumps(found, indent=1))
    else:
        _print(_status_table(found))
    if not all(component["healthy"] for component in found["components"]):
        raise typer.Exit(1)


def _status_table(found: dict[str, Any]) -> str:
    rows = [("COMPONENT", "STATE", "PID", "PORT", "RESTARTS", "MEMORY")]
    total = found["supervisor"]["memory_bytes"]
    for one in found["components"]:
        total += one["memory_bytes"]
        state = one["state"] if one["healthy"] or one["state"] != "ready" else "not ready"
        rows.append(
            (
                one["name"],
                state,
                str(one["pid"] or "-"),
                str(one["port"]),
                str(one["restarts"]),
                _mebibytes(one["memory_bytes"]),
            )
        )
    supervisor = found["supervisor"]
    rows.append(
        ("supervisor", found["phase"], str(supervisor["pid"]), "-", "0", _mebibytes(supervisor["memory_bytes"]))
    )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([*lines, "", f"{found['url']}  {found['data_dir']}  {_mebibytes(total)} in total"])


def _mebibytes(size: int) -> str:
    return f"{size / (1 << 20):.0f} MiB"


@app.command()
def logs(
    service: Annotated[
        str | None, typer.Argument(help="order, order-1, postgres, supervisor ...; default: all")
    ] = None,
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on printing what is written.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, help="Lines from the end of each log.")] = (
        DEFAULT_LOG_LINES
    ),
) -> None:
    """Print the end of the logs."""
    from shop.operator.local import logs as files
    from shop.operator.local import running

    paths = running.log_files(_data(data_dir), service)
    for path in paths:
        if len(paths) > 1:
            _print(f"==> {_log_name(path)} <==")
        for line in files.last_lines(path, lines):
            _print(line)
    if follow:
        for path, line in files.follow(paths):
            _print(f"{_log_name(path)}: {line}" if len(paths) > 1 else line)


def _log_name(path: Path) -> str:
    return path.parent.name if path.name == "server.log" else path.stem


@app.command()
def down(
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
    delete_data: Annotated[bool, typer.Option("--delete-data", help="Also delete the shop's data for good.")] = False,
) -> None:
    """End a shop that runs in the background (or in another terminal)."""
    from shop.operator.local import running

    data = _data(data_dir)
    ran = running.down(data, delete_data)
    _print(
        ("The shop has ended" if ran else f"No shop ran in {data.path}")
        + ("; its data is deleted." if delete_data else ".")
    )


@app.command()
def stop(
    component: Annotated[str, typer.Argument(help="A service (pricing), an instance (order-2) or a store (nats).")],
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """Stop a component of the running shop and leave it stopped, to see what the others do without it."""
    from shop.operator.local import running

    answer = running.command(_data(data_dir), "stop", component=component)
    _print(f"stopped: {', '.join(answer['components'])}")


@app.command()
def start(
    component: Annotated[str, typer.Argument(help="A component that was stopped.")],
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
) -> None:
    """Start a stopped component again and return once it is ready."""
    from shop.operator.local import running

    answer = running.command(_data(data_dir), "start", component=component)
    _print(f"started: {', '.join(answer['components'])}")


@app.command()
def audit(
    data_dir: DataDirOption = DEFAULT_DATA_DIR,
    as_json: JsonOption = False,
    settle_seconds: Annotated[
        float, typer.Option(min=0, help="Leave out what is younger: its effects may still be on their way.")
    ] = 10.0,
    order_deadline_seconds: Annotated[
        float, typer.Option(min=1, help="The age at which every order must have ended.")
    ] = 960.0,
    wait: Annotated[float, typer.Option(min=0, help="First wait up to so many seconds until all orders ended.")] = 0.0,
    acknowledged: Annotated[
        Path | None, typer.Option(help="File with the order ids that customers were told, one per line.")
    ] = None,
    database_url: Annotated[
        str,
        typer.Option(
            envvar="SHOP_AUDIT_DATABASE_URL",
            help="Audit a shop elsewhere, such as in a cluster through `kubectl port-forward`: where its databases are,"
            " with {noun} for the service. Better set as a variable: others see a command's arguments.",
        ),
    ] = "",
    nats_url: Annotated[
        str, typer.Option(envvar="SHOP_AUDIT_NATS_URL", help="The broker of a shop elsewhere; goes with the former.")
    ] = "",
) -> None:
    """Check what must always hold: no order lost, nothing oversold, nobody charged twice. Code 1 when it does not."""
    from shop.operator.audit.model import Options
    from shop.operator.local import auditing

    elsewhere = database_url or nats_url
    target = auditing.elsewhere(database_url, nats_url) if elsewhere else auditing.target(_data(data_dir))
    options = Options(settle_seconds, order_deadline_seconds, auditing.acknowledged(acknowledged))
    if not auditing.run(target, options, wait, as_json):
        raise typer.Exit(1)


def _data(path: Path) -> "DataDir":
    from shop.operator.local.layout import DataDir

    return DataDir(path)


def _print(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> None:
    """Run the command line; what a person can put right is one line on stderr and code 1."""
    try:
        app(prog_name="shopctl")
    except (ShopctlError, EmbeddedError, OSError) as error:
        if isinstance(error, BrokenPipeError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)
        for line in str(error).splitlines() or [type(error).__name__]:
            sys.stderr.write(f"shopctl: {line}\n")
        sys.exit(1)


if __name__ == "__main__":
    main()
