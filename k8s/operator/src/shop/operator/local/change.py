"""What a change of a running shop keeps. No input or output."""

from collections.abc import Callable, Mapping

from shop.operator.local.instances import replica_counts
from shop.operator.resource.spec import ShopSpec


def counts(old: ShopSpec, new: ShopSpec, asked: Mapping[str, int], running: Callable[[str], int]) -> dict[str, int]:
    """Processes by service: as many as are `running`, unless the service is new or `new` has another number of them.

    `asked` are the numbers of `shopctl up --replicas`.
    """
    found = replica_counts(new, {noun: count for noun, count in asked.items() if noun in new.nouns})
    kept = {noun: running(noun) for noun in found if old.service(noun).replicas == new.service(noun).replicas}
    return found | {noun: count for noun, count in kept.items() if count}
