"""The audit as a process of its own: it holds every order in memory, and the supervisor stays as small as it is."""

import asyncio
import contextlib
import json
import sys
from pathlib import Path
from typing import Any

from shop.operator.errors import ShopctlError

LIMIT_S = 110.0
"""Less than the client of the control socket waits."""
SHOWN_VIOLATIONS = 20
"""Of one oracle; the answer is one line of limited length."""
MAX_SHOWN_CHARACTERS = 500


async def run(data_dir: Path) -> dict[str, Any]:
    """What `shopctl audit --json` says of the shop in this folder; raises `ShopctlError` when it says nothing."""
    pipe = asyncio.subprocess.PIPE
    command = (sys.executable, "-m", "shop.operator.cli", "audit", "--json", "--data-dir", str(data_dir))
    process = await asyncio.create_subprocess_exec(*command, stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=pipe)
    try:
        out, err = await asyncio.wait_for(process.communicate(), LIMIT_S)
    except TimeoutError as error:
        raise ShopctlError(f"the audit was not done within {LIMIT_S:g} s") from error
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    try:
        document: dict[str, Any] = json.loads(out)
    except ValueError as error:
        raise ShopctlError(f"the audit said: {err.decode(errors='replace').strip()[-MAX_SHOWN_CHARACTERS:]}") from error
    return {**document, "oracles": [_short(one) for one in document["oracles"]]}


def _short(oracle: dict[str, Any]) -> dict[str, Any]:
    shown = list(oracle["details"].items())[:SHOWN_VIOLATIONS]
    violations = [f"{key} {what}"[:MAX_SHOWN_CHARACTERS] for key, what in shown]
    return {name: oracle[name] for name in ("number", "name", "ok", "checked")} | {"violations": violations}
