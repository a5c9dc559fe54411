"""What search engines ask for: which pages they may read, and the addresses of all products and categories."""

from __future__ import annotations

from xml.sax.saxutils import escape

from fastapi import APIRouter, Request
from starlette.responses import Response

from shop.storefront.web import Shop, public_url

router = APIRouter(include_in_schema=False)

SEARCH_ENGINES = {"Cache-Control": "public, max-age=3600"}
NAMESPACE = "http://www.sitemaps.org/schemas/sitemap/0.9"

PERSONAL = ("/account", "/admin", "/cart", "/checkout", "/mailbox", "/orders", "/sign-in", "/sign-out", "/sign-up")
PICTURES = "/api/v1/products/*/cover.svg"


@router.get("/robots.txt")
async def robots(request: Request) -> Response:
    """Search results may be read, so that it is seen that they are not to be indexed; personal pages need no visit."""
    rules = [f"Allow: {PICTURES}", "Disallow: /api/", *(f"Disallow: {path}" for path in PERSONAL)]
    lines = ["User-agent: *", *rules, "", f"Sitemap: {public_url(request, '/sitemap.xml')}", ""]
    return Response("\n".join(lines), headers=SEARCH_ENGINES, media_type="text/plain")


@router.get("/sitemap.xml")
async def sitemap(request: Request, shop: Shop) -> Response:
    """The addresses as the client knows this shop; when a product was last changed is not known here."""
    urls = (escape(public_url(request, path)) for path in await shop.site_paths.paths())
    body = "".join(f"<url><loc>{url}</loc></url>\n" for url in urls)
    text = f'<?xml version="1.0" encoding="UTF-8"?>\n<urlset xmlns="{NAMESPACE}">\n{body}</urlset>\n'
    return Response(text, headers=SEARCH_ENGINES, media_type="application/xml")
