"""The command line: shopctl, and `kubectl shop` for Shops in a cluster.

With a Shop's name a command concerns the cluster, without one the shop on this machine. Every command imports its
dependencies itself, so that `--help` and `status` are quick.
"""

import sys

if sys.version_info < (3, 12):  # noqa: UP036 - the message is for a start without the package manager
    sys.exit("shopctl needs Python 3.12 or newer; `uv python install 3.13` brings one")


def main() -> None:
    """Run shopctl."""
    from shop.operator.cli import shopctl

    shopctl.main()
