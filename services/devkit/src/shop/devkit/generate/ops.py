"""What the control room knows of the services: who calls whom, whose events go where, and which stores each uses."""

from __future__ import annotations

from pathlib import Path

from shop.devkit.generate import python
from shop.devkit.generate.gateway import urls
from shop.devkit.manifest import Manifest, Manifests, called, publishers

NOUN = "ops"
HEAD = f'''"""Services and what connects them. {python.NOTICE}"""

from collections.abc import Mapping
from typing import Final

from shop.kit.settings import ServiceSettings

'''


def services(_root: Path, manifests: Manifests) -> str:
    """shop/ops/services.py."""
    shown = {noun: one for noun, one in manifests.items() if noun != NOUN}
    calls = {noun: called(shown, noun) for noun in shown}
    parts = [
        python.dict_of("ABOUT", {noun: one.description.rstrip(".") for noun, one in shown.items()}),
        '"""What each service does; those at the edge are last."""\n',
        python.dict_of_tuples("CALLS", calls),
        '"""The services that each one calls."""\n',
        python.dict_of_tuples("CONSUMES", {noun: publishers(one) for noun, one in shown.items()}),
        '"""The services whose events each one consumes."""\n',
        python.dict_of_tuples("STORES", {noun: _stores(one) for noun, one in shown.items()}),
        python.tuple_of("SINGLE", [noun for noun, one in shown.items() if one.single_process_locally]),
        '"""Those of which one machine runs one process."""\n',
        "\n\n",
        urls(shown),
    ]
    return HEAD + "".join(parts)


def _stores(manifest: Manifest) -> list[str]:
    used = {"postgres": manifest.database, "nats": manifest.broker, "valkey": manifest.cache}
    return [name for name, uses in used.items() if uses]
