"""Visitors of the shop: the kit's, with their carts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from uuid import UUID

from shop.kit import sessions

NON_PAGE_PREFIXES = (
    "/static/",
    "/eat-pictures/",
    "/favicon.ico",
    "/robots.txt",
    "/sitemap.xml",
    "/health",
    "/metrics",
    "/docs",
    "/redoc",
    "/openapi.json",
)
"""Paths that are no pages: no cookies, no page headers."""


@dataclass
class Visitor(sessions.Visitor):
    """The cookies of one request, and what was read of the visitor's carts."""

    carts: dict[str, Mapping[UUID, int]] = field(default_factory=dict)
    """By owner: the lines that were read during this request."""

    @property
    def known(self) -> bool:
        """Whether there can be a cart: the visitor is signed in or sent a cookie."""
        return self.session is not None or self.loaded.get("shop_visitor") is not None

    @property
    def cart_owner(self) -> str:
        """The owner of cart and purchases: the user, the same in every browser, or this visitor."""
        return f"user:{self.session.user_id}" if self.session else self.id
