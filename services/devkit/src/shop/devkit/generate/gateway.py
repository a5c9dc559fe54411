"""The gateway's table: which service answers a path, and what it needs to know of each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from shop.devkit.generate import python
from shop.devkit.manifest import Manifest, Manifests, fallback_of

HEAD = f'''"""Which paths lead to which service. {python.NOTICE}"""

from collections.abc import Mapping
from typing import Final

from shop.kit.settings import ServiceSettings

'''
PORT = 8000


def services(_root: Path, manifests: Manifests) -> str:
    """shop/gateway/services.py."""
    parts = [
        python.dict_of("API", _owners(manifests, lambda manifest: manifest.api)),
        '"""The first segment after /api/v1/ and the service behind it."""\n',
        python.dict_of("PREFIXES", _owners(manifests, lambda manifest: manifest.prefixes)),
        '"""Other first segments and the service behind them."""\n',
        f'FALLBACK: Final = "{fallback_of(manifests)}"\n"""The service that has every other path."""\n',
        python.tuple_of("PUBLIC_READS", _all(manifests, lambda manifest: manifest.public_reads)),
        '"""Segments after /api/v1/ that are read without a token."""\n',
        python.tuple_of("PUBLIC_POSTS", _all(manifests, lambda manifest: manifest.public_posts)),
        '"""Where a POST needs no token."""\n',
        python.tuple_of("SIGN_IN", _all(manifests, lambda manifest: manifest.sign_in)),
        '"""Where a POST makes the user service hash a password: of the API, and of the storefront\'s pages."""\n',
        python.tuple_of("IDEMPOTENCY_KEYS", _all(manifests, lambda manifest: manifest.idempotency_keys)),
        '"""Where a POST with an Idempotency-Key is carried out once, however often it comes."""\n',
        python.tuple_of("EVENT_STREAMS", _all(manifests, lambda manifest: manifest.event_streams)),
        '"""What is answered with server-sent events."""\n',
        "\n\n",
        urls({noun: one for noun, one in manifests.items() if not one.ingress}),
    ]
    return HEAD + "".join(parts)


def urls(manifests: Manifests) -> str:
    """The settings' base class with the addresses of these services."""
    found = {noun: "" if one.optional else f"http://{noun}:{PORT}" for noun, one in manifests.items()}
    fields = [f'    {noun}_url: str = "{url}"\n' for noun, url in found.items()]
    return (
        "class ServiceUrls(ServiceSettings):\n"
        '    """One base URL or several, separated by commas, of each; "" of one that this shop is without."""\n\n'
        f"{''.join(fields)}"
    )


def _owners(manifests: Manifests, segments: Callable[[Manifest], tuple[str, ...]]) -> dict[str, str]:
    return dict(sorted((one, noun) for noun, manifest in manifests.items() for one in segments(manifest)))


def _all(manifests: Manifests, values: Callable[[Manifest], tuple[str, ...]]) -> list[str]:
    return sorted({value for manifest in manifests.values() for value in values(manifest)})
