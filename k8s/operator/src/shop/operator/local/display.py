"""The progress of `shopctl up`: a live table on a terminal, plain lines elsewhere."""

import sys
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, Protocol

from shop.operator.program import shell_word, shopctl

STATE_STYLES = {
    "ready": "green",
    "starting": "yellow",
    "preparing": "yellow",
    "restarting": "magenta",
    "failed": "bold red",
    "stopped": "dim",
    "stopping": "dim",
    "waiting": "dim",
}


class Display(Protocol):
    """Shows snapshots and lines; `finish` ends the table, later lines are printed below it."""

    def show(self, snapshot: dict[str, Any]) -> None: ...

    def say(self, line: str) -> None: ...

    def finish(self) -> None: ...


class PlainDisplay:
    """One line whenever something becomes ready or fails."""

    def __init__(self) -> None:
        self._shown: dict[str, str] = {}
        self._finished = False

    def show(self, snapshot: dict[str, Any]) -> None:
        """Print what is new in the snapshot."""
        for row in [*snapshot["components"], *snapshot["steps"]]:
            shown = self._shown.get(row["name"])
            if row["state"] != shown and row["state"] in ("ready", "failed") and not self._finished:
                self._shown[row["name"]] = row["state"]
                self.say(describe(row))

    def say(self, line: str) -> None:
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()

    def finish(self) -> None:
        self._finished = True


def describe(row: dict[str, Any]) -> str:
    """One component or step as a line of text."""
    port = f" on 127.0.0.1:{row['port']}" if row.get("port") else ""
    seconds = f" ({row['seconds']:.1f} s)" if row["seconds"] is not None else ""
    detail = f": {row['detail']}" if row["detail"] else ""
    return f"{row['name']} {row['state']}{port}{detail}{seconds}"


class LiveDisplay:
    """A table that changes in place."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live

        self._console = Console()
        self._live = Live(console=self._console, refresh_per_second=10, transient=False)
        self._live.start()

    def show(self, snapshot: dict[str, Any]) -> None:
        """Draw the snapshot."""
        self._live.update(table(snapshot))

    def say(self, line: str) -> None:
        self._console.print(line, highlight=False, markup=False)

    def finish(self) -> None:
        self._live.stop()


def table(snapshot: dict[str, Any]) -> Any:
    """The snapshot as a rich table."""
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("component", "state", "pid", "port"):
        drawn.add_column(column, justify="right" if column in ("pid", "port") else "left")
    drawn.add_column("time", justify="right")
    drawn.add_column("")
    for row in [*snapshot["components"], *snapshot["steps"]]:
        state = Text(row["state"], style=STATE_STYLES.get(row["state"], ""))
        seconds = f"{row['seconds']:.1f} s" if row["seconds"] is not None else ""
        pid, port = str(row.get("pid") or ""), str(row.get("port") or "")
        drawn.add_row(row["name"], state, pid, port, seconds, Text(row["detail"], style="dim"))
    return drawn


def for_terminal() -> Display:
    """The display that fits standard output."""
    return LiveDisplay() if sys.stdout.isatty() else PlainDisplay()


def welcome(
    url: str,
    seconds: float,
    admin: dict[str, str],
    password: str | None,
    data_dir: str,
    grpc: Mapping[str, Sequence[str]] = MappingProxyType({}),
    pages: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """Addresses and next steps, printed once the shop sells; `password` is given on the first start only."""
    secret = f"password {password}" if password else f"password in {admin['password_file']}"
    lines = [
        "",
        f"The shop is ready after {seconds:.1f} s.",
        "",
        f"  shop      {url}",
        f"  API       {url}/docs",
        *(f"  gRPC      {', '.join(addresses)} ({noun})" for noun, addresses in grpc.items()),
        f"  mailbox   {url}/mailbox",
        *(f"  observed  {address} ({name})" for name, address in pages.items()),
        f"  admin     {url}/admin   {admin['email']}, {secret}",
    ]
    if password:
        lines.append(f"            (shown only now; stored in {admin['password_file']})")
    extra = "" if data_dir == ".shop" else f" --data-dir {shell_word(data_dir)}"
    program = shopctl()
    lines += [
        "",
        "Try next: buy something with the card tok_visa, and be refused with tok_declined;",
        f"  {program} status{extra}           processes, health and memory",
        f"  {program} stop pricing{extra}     orders are queued; `{program} start pricing{extra}` confirms them",
        f"  {program} logs order -f{extra}    the log of the order service",
        f"  {program} audit{extra}            check every order, the stock and the payments",
        "",
    ]
    return "\n".join(lines)
