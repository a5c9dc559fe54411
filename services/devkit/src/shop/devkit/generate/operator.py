"""What the operator and shopctl know of the services."""

from __future__ import annotations

from pathlib import Path

from shop.devkit.generate import python
from shop.devkit.manifest import CORE, Manifests

HEAD = f'''"""The services of a shop. {python.NOTICE}"""

from collections.abc import Mapping
from typing import Final, Literal

'''


def services(_root: Path, manifests: Manifests) -> str:
    """shop/operator/services.py."""
    nouns = [f'    "{noun}",\n' for noun in manifests]
    chosen = {
        "WITH_DATABASE": [noun for noun, one in manifests.items() if one.database],
        "EDGE": [noun for noun, one in manifests.items() if one.edge],
        "SINGLE_PROCESS_LOCALLY": [noun for noun, one in manifests.items() if one.single_process_locally],
    }
    events = sorted({event for one in manifests.values() for event in one.audited_events})
    consumers = {event: [noun for noun, one in manifests.items() if event in one.audited_events] for event in events}
    modules = sorted({module for one in manifests.values() for module in one.modules} - {CORE})
    parts = [
        f"Noun = Literal[\n{''.join(nouns)}]\n",
        python.tuple_of("SERVICES", manifests),
        python.tuple_of("WITH_DATABASE", chosen["WITH_DATABASE"]),
        python.tuple_of("EDGE", chosen["EDGE"]),
        '"""Customers\' requests come to these first."""\n',
        python.tuple_of("SINGLE_PROCESS_LOCALLY", chosen["SINGLE_PROCESS_LOCALLY"]),
        '"""On one machine one process of each: they own a port of their own."""\n',
        python.tuple_of("MODULES", modules),
        '"""Parts of the product that a Shop turns on and off."""\n',
        python.dict_of_tuples("AUDITED_EVENTS", consumers),
        '"""By event, the services whose inboxes must contain it; other consumers are not audited."""\n',
    ]
    return HEAD + "".join(parts)
