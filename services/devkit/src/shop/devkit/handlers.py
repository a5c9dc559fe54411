"""What FastAPI finds out about a handler is kept from one application to the next of the same process.

Tests build an application each, thousands in all, and most of that time goes into reading the same signatures again:
FastAPI reads each handler of a router once for the router and once for every application that includes it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

from fastapi import routing
from fastapi.params import Depends

READ = "_build_dependant_with_parameterless_dependencies"
"""FastAPI's function that reads a handler. What it returns is only read afterwards, by every request."""
KEPT_HANDLERS = 2_048
LOCAL = "<locals>"


def keep() -> None:
    """Read each handler of a module once per path and dependencies; those made inside a function come only once."""
    read: Callable[..., Any] = getattr(routing, READ)

    @lru_cache(KEPT_HANDLERS)
    def kept(path: str, call: Callable[..., Any], dependencies: tuple[Depends, ...]) -> Any:
        return read(path=path, call=call, dependencies=dependencies)

    def read_once(*, path: str, call: Callable[..., Any], dependencies: Sequence[Depends]) -> Any:
        if LOCAL in getattr(call, "__qualname__", LOCAL):
            return read(path=path, call=call, dependencies=dependencies)
        return kept(path, call, tuple(dependencies))

    vars(routing)[READ] = read_once
