"""Log levels of the processes of a local shop."""

from collections.abc import Sequence

from shop.kit import log_level
from shop.operator.errors import ShopctlError
from shop.operator.local.component import Component


def choose(components: Sequence[Component], level: str) -> None:
    """Make each of them write lines of ``level`` and above; raises `ShopctlError` for the first that does not."""
    for component in components:
        if component.kind != "service":
            raise ShopctlError(f"{component.name} is no service: its own configuration has its log level")
        if component.pid is None:
            raise ShopctlError(f"{component.name} does not run")
        try:
            log_level.send(component.pid, level)
        except (log_level.NotObeyed, OSError) as error:
            raise ShopctlError(f"{component.name} keeps its log level: {error}") from error
