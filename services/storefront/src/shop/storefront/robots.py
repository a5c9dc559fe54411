"""robots.txt and the sitemap."""

from __future__ import annotations

from xml.sax.saxutils import escape

from fastapi import APIRouter, Request
from starlette.responses import Response

from shop.storefront.web import Shop, public_url

router = APIRouter(include_in_schema=False)

CACHE_FOR_AN_HOUR = {"Cache-Control": "public, max-age=3600"}
NAMESPACE = "http://www.sitemaps.org/schemas/sitemap/0.9"

PERSONAL = (
    "/account", "/admin", "/cart", "/checkout", "/courier", "/eat/cart", "/eat/checkout", "/kitchen", "/mailbox",
    "/orders", "/sign-in", "/sign-out", "/sign-up",
)  # fmt: skip
PRODUCT_IMAGES = "/api/v1/products/*/cover.svg"


@router.get("/robots.txt")
async def robots(request: Request) -> Response:
    """Search results may be crawled so that their `noindex` is seen; personal pages need not be."""
    rules = [f"Allow: {PRODUCT_IMAGES}", "Disallow: /api/", *(f"Disallow: {path}" for path in PERSONAL)]
    lines = ["User-agent: *", *rules, "", f"Sitemap: {public_url(request, '/sitemap.xml')}", ""]
    return Response("\n".join(lines), headers=CACHE_FOR_AN_HOUR, media_type="text/plain")


@router.get("/sitemap.xml")
async def sitemap(request: Request, shop: Shop) -> Response:
    """URLs as the client addresses this shop, without `lastmod`: the catalogue does not say when a product changed."""
    urls = (escape(public_url(request, path)) for path in await shop.site_paths.paths())
    body = "".join(f"<url><loc>{url}</loc></url>\n" for url in urls)
    text = f'<?xml version="1.0" encoding="UTF-8"?>\n<urlset xmlns="{NAMESPACE}">\n{body}</urlset>\n'
    return Response(text, headers=CACHE_FOR_AN_HOUR, media_type="application/xml")
