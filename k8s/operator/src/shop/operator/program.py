"""How this program is called, for every advice that it prints: the command must work as printed."""

import shlex
import sys
from pathlib import Path

CHECKOUT = Path(__file__).parents[5]
SCRIPT = "shopctl"
KUBECTL_PLUGIN = "kubectl-shop"


def shopctl(checkout: Path = CHECKOUT) -> str:
    """`./shopctl` in the checkout's folder, the script's path elsewhere, `shopctl` where it is an installed package.

    As a plugin of kubectl the program is `kubectl shop`.
    """
    if Path(sys.argv[0]).name == KUBECTL_PLUGIN:
        return "kubectl shop"
    script = checkout / SCRIPT
    if not script.is_file():
        return SCRIPT
    return f"./{SCRIPT}" if Path.cwd() == checkout else shell_word(str(script))


def shell_word(text: str) -> str:
    """`text` as one word of a shell's command line, on one line."""
    if text.isprintable():
        return shlex.quote(text)
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return "$'" + "".join(one if one.isprintable() else f"\\x{ord(one):02x}" for one in escaped) + "'"
