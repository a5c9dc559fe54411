"""Finds requests that change a cart after they have read it for their page, which would show what was read before."""

from __future__ import annotations

import functools
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from shop.kit.sessions import SessionMiddleware
from shop.storefront.carts import Carts
from shop.storefront.sessions import Visitor

CHANGES = {"_change": 0, "add_each": 0, "delete": 0, "merge": 1, "remove_purchased": 0}
"""The methods of Carts that change a cart, with the place of its owner among their arguments."""


@dataclass
class CartReads:
    """Of one request: the lines that were read by owner, and owners whose cart was changed after that."""

    read: dict[str, Any] = field(default_factory=dict)
    changed: set[str] = field(default_factory=set)

    def outdated(self, visitor: Visitor) -> bool:
        """Whether the page has lines that are no longer those of the cart."""
        return any(visitor.carts.get(owner, self.read[owner]) is self.read[owner] for owner in self.changed)


REQUEST: ContextVar[CartReads | None] = ContextVar("cart_reads", default=None)


def outdated_pages(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths of requests whose page showed a cart that they changed afterwards; it grows with each."""
    paths: list[str] = []
    _watch_requests(monkeypatch, paths)
    _watch_reads(monkeypatch)
    for name, place in CHANGES.items():
        _watch_change(monkeypatch, name, place)
    return paths


def _watch_requests(monkeypatch: pytest.MonkeyPatch, paths: list[str]) -> None:
    answer = SessionMiddleware.__call__

    async def watched(self: SessionMiddleware, scope: Scope, receive: Receive, send: Send) -> None:
        reads = CartReads()
        REQUEST.set(reads)
        await answer(self, scope, receive, send)
        visitor = scope.get("state", {}).get("visitor")
        if visitor and reads.outdated(visitor):
            paths.append(scope["path"])

    monkeypatch.setattr(SessionMiddleware, "__call__", watched)


def _watch_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    read = Carts.shown

    async def watched(self: Carts, visitor: Visitor) -> Any:
        lines = await read(self, visitor)
        if reads := REQUEST.get():
            reads.read.setdefault(visitor.cart_owner, lines)
        return lines

    monkeypatch.setattr(Carts, "shown", watched)


def _watch_change(monkeypatch: pytest.MonkeyPatch, name: str, place: int) -> None:
    change = getattr(Carts, name)

    @functools.wraps(change)
    async def watched(self: Carts, *arguments: Any, **named: Any) -> Any:
        reads = REQUEST.get()
        if reads and arguments[place] in reads.read:
            reads.changed.add(arguments[place])
        return await change(self, *arguments, **named)

    monkeypatch.setattr(Carts, name, watched)
