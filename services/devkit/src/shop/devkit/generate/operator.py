"""What the operator and shopctl know of the services."""

from __future__ import annotations

from pathlib import Path

from shop.devkit.generate import python
from shop.devkit.manifest import CORE, RETAIL, Manifests, called

HEAD = f'''"""The services of a shop. {python.NOTICE}"""

from collections.abc import Mapping
from typing import Final, Literal, get_args

'''
MODULES_HEAD = f'''"""Modules of a Shop. {python.NOTICE}"""

from shop.operator.resource.fields import Flag
from shop.operator.resource.spec_service import Part


class Modules(Part):
    """Which parts of the product are on."""

'''


def services(_root: Path, manifests: Manifests) -> str:
    """shop/operator/services.py."""
    nouns = [f'    "{noun}",\n' for noun in manifests]
    chosen = {
        "WITH_DATABASE": [noun for noun, one in manifests.items() if one.database],
        "WITH_GRPC": [noun for noun, one in manifests.items() if one.grpc_port],
        "EDGE": [noun for noun, one in manifests.items() if one.edge],
        "SINGLE_PROCESS_LOCALLY": [noun for noun, one in manifests.items() if one.single_process_locally],
        "OPTIONAL": [noun for noun, one in manifests.items() if one.optional],
    }
    events = sorted({event for one in manifests.values() for event in one.audited_events})
    consumers = {event: [noun for noun, one in manifests.items() if event in one.audited_events] for event in events}
    modules = {noun: one.modules for noun, one in manifests.items() if CORE not in one.modules}
    parts = [
        f"Noun = Literal[\n{''.join(nouns)}]\n",
        "SERVICES: Final[tuple[Noun, ...]] = get_args(Noun)\n",
        python.tuple_of("WITH_DATABASE", chosen["WITH_DATABASE"]),
        python.tuple_of("WITH_GRPC", chosen["WITH_GRPC"]),
        '"""They have a gRPC server beside the HTTP one."""\n',
        python.tuple_of("EDGE", chosen["EDGE"]),
        '"""Customers\' requests come to these first."""\n',
        python.tuple_of("SINGLE_PROCESS_LOCALLY", chosen["SINGLE_PROCESS_LOCALLY"]),
        '"""On one machine one process of each: they own a port of their own."""\n',
        python.dict_of_tuples("MODULES", modules),
        '"""By service, the modules of a Shop that need it; one that is not named runs in every shop."""\n',
        python.tuple_of("OPTIONAL", chosen["OPTIONAL"]),
        '"""A shop is without these unless its Shop turns a module on."""\n',
        python.dict_of_tuples("CALLS", {noun: called(manifests, noun) for noun in manifests}),
        '"""By service, the others whose addresses it uses."""\n',
        python.dict_of_tuples("AUDITED_EVENTS", consumers),
        '"""By event, the services whose inboxes must contain it; other consumers are not audited."""\n',
    ]
    return HEAD + "".join(parts)


def modules(_root: Path, manifests: Manifests) -> str:
    """shop/operator/resource/spec_modules.py."""
    names = sorted({module for one in manifests.values() for module in one.modules} - {CORE})
    fields = []
    for name in names:
        members = [noun for noun, one in manifests.items() if name in one.modules]
        fields.append(f'    {name}: Flag = {name == RETAIL}\n    """Runs {_sentence(members)}."""\n')
    return MODULES_HEAD + "".join(fields)


def _sentence(names: list[str]) -> str:
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last
