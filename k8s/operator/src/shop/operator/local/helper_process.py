"""A process that does one thing for a shop's start and ends, such as the migrations of its databases."""

import asyncio
import os
import sys


async def start(module: str) -> asyncio.subprocess.Process:
    pipe = asyncio.subprocess.PIPE
    # Nothing is acknowledged yet, and the first order's commit makes earlier writes durable.
    env = {**os.environ, "PGOPTIONS": "-c synchronous_commit=off"}
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", module, env=env, stdin=pipe, stdout=pipe, stderr=pipe
    )


def last_line(output: bytes) -> str:
    lines = output.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "no message"
