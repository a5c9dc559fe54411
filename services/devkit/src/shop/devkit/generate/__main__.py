"""`python -m shop.devkit.generate`: write every file that follows from the manifests, in the current folder."""

from __future__ import annotations

import sys
from pathlib import Path

from shop.devkit import generate
from shop.devkit.generate.blocks import BlockError
from shop.devkit.manifest import ManifestError


def main() -> int:
    try:
        changed = generate.write(Path.cwd())
    except (ManifestError, BlockError) as error:
        print(error, file=sys.stderr)
        return 1
    for path in changed:
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
