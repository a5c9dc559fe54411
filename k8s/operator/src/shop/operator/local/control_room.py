"""The control room of a local shop: started once the shop sells, which does not depend on it in any way."""

from collections.abc import Callable, Iterable

from shop.operator.errors import ShopctlError
from shop.operator.local.component import Component
from shop.operator.local.instances import CONTROL_ROOM
from shop.operator.local.supervisor import Supervisor
from shop.operator.resource.spec import Shop

SPAN_EXPORT = ("shop.kit.span_export", "requests")
"""What exports spans; loaded by each service it takes 8 MiB of each."""


def runs_in(shop: Shop) -> bool:
    """Whether there is one."""
    return CONTROL_ROOM in shop.spec.nouns


def preloaded(shop: Shop) -> tuple[str, ...]:
    """Modules that all services load because of it."""
    return SPAN_EXPORT if runs_in(shop) else ()


def without(components: Iterable[Component]) -> list[Component]:
    """Those that a shop needs to sell."""
    return [one for one in components if one.noun != CONTROL_ROOM]


async def start(supervisor: Supervisor, say: Callable[[str], None]) -> None:
    """Start it, or say why it does not run."""
    try:
        await supervisor.start([one for one in supervisor.components if one.noun == CONTROL_ROOM])
    except ShopctlError as error:
        say(f"the control room does not run: {error}")
