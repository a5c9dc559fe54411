"""Callbacks for the moment at which this process begins to stop, while it still serves."""

from __future__ import annotations

from collections.abc import Callable

_callbacks: set[Callable[[], None]] = set()


def on_begin(callback: Callable[[], None]) -> Callable[[], None]:
    """Call ``callback`` when draining begins; the result takes it back."""
    _callbacks.add(callback)
    return lambda: _callbacks.discard(callback)


def begin() -> None:
    """Draining begins now; ``shop.kit.serve`` calls this on the event loop."""
    for callback in list(_callbacks):
        callback()
