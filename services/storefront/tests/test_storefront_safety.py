"""CSRF, escaping, content security policy and accessibility."""

from __future__ import annotations

import itertools
import re
from uuid import uuid4

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute

from services.storefront.tests.conftest import ADDRESS, CUSTOMER, Browser
from services.storefront.tests.html import Element, Page
from services.storefront.tests.scripted_data import NOW, product, product_id
from shop.devkit.testing import INTERNAL_TOKEN
from shop.kit.sessions import Cookies, Visitor
from shop.storefront import assets
from shop.storefront.app import PAGES
from shop.storefront.assets import ASSETS, STATIC_DIR, asset_url

NASTY = "<script>alert('x')</script>\"'><img src=x onerror=alert(1)>"
MAX_STYLE_BYTES = 30_000
IMPORTED = re.compile(r'^import .* from "(.+)";$', re.MULTILINE)
MIN_CONTRAST = 4.5
FIXED_VALUES = {
    "product_id": product_id("pride"),
    "order_id": str(uuid4()),
    "address_id": str(uuid4()),
    "action": "cancel",
    "restaurant_id": str(uuid4()),
    "setting": "pause",
    "item_id": str(uuid4()),
    "key": uuid4().hex,
    "day": "2026-12-24",
    "step": "drop",
    "player_id": str(uuid4()),
    "change": "befriend",
    "game": "stack",
    "session_id": str(uuid4()),
}
LABELLED = frozenset({"input", "select", "textarea"})


def post_paths() -> list[str]:
    app = FastAPI()
    for module in PAGES:
        app.include_router(module.router)
    routes = (route for module in PAGES for route in module.router.routes)
    return sorted({route.path for route in routes if isinstance(route, APIRoute) and "POST" in (route.methods or ())})


def test_there_are_forms() -> None:
    assert {"/cart/lines", "/checkout", "/sign-in", "/sign-out", "/admin/stock/{product_id}"} <= set(post_paths())


@pytest.mark.parametrize(
    "token", ["", "0" * 64, "\N{SNOWMAN}", Cookies(INTERNAL_TOKEN, Visitor).form_token("somebody else")]
)
async def test_forms_need_a_csrf_token(browser: Browser, token: str) -> None:
    await browser.sign_in_as_admin()
    browser.shop.calls.clear()
    data = {"csrf_token": token, **ADDRESS, "product_id": product_id("pride"), "delta": "1"}
    for path in post_paths():
        answer = await browser.client.post(path.format(**FIXED_VALUES), data=data)
        assert answer.status_code == 403, path
        assert "This form has expired" in answer.text, path
    assert not [call for call in browser.shop.calls if call[0] != "GET"]


@pytest.mark.parametrize(
    ("origin", "host", "status"),
    [
        ("http://test", None, 303),
        ("https://shop.example", "shop.example", 303),
        ("https://evil.example", None, 403),
        ("https://evil.example", "shop.example", 403),
        ("null", None, 403),
    ],
)
async def test_forms_of_other_sites_are_refused(browser: Browser, origin: str, host: str | None, status: int) -> None:
    page = await browser.get(f"/products/{product_id('pride')}")
    headers = {"origin": origin} | ({"x-forwarded-host": host} if host else {})
    answer = await browser.client.post("/cart/lines", data=page.form("/cart/lines").fields, headers=headers)
    assert answer.status_code == status


async def test_a_form_of_another_visitor_is_refused(browser: Browser) -> None:
    page = await browser.get(f"/products/{product_id('pride')}")
    browser.client.cookies.clear()
    await browser.send(page.form("/cart/lines"), 403)


@pytest.mark.parametrize("content", [b"\xff\xfe=1", b"a=" + b"x" * 70_000, b"&".join(b"f%d=1" % n for n in range(99))])
async def test_malformed_bodies_are_refused(client: httpx.AsyncClient, content: bytes) -> None:
    headers = {"content-type": "application/x-www-form-urlencoded"}
    answer = await client.post("/cart/lines", content=content, headers=headers)
    assert answer.status_code in {400, 403, 413}


async def test_user_text_is_escaped(browser: Browser) -> None:
    book = product(
        "nasty", NASTY, 100, 3, description=NASTY, attributes={"author": NASTY, NASTY: NASTY}, category=NASTY
    )
    browser.shop.products[book["id"]] = book
    await browser.sign_in()
    browser.shop.people[CUSTOMER].addresses.append({**ADDRESS, "street": NASTY, "id": product_id("address")})
    browser.shop.messages = [{"id": product_id("m"), "subject": NASTY, "created_at": NOW}]
    page = await browser.get(f"/products/{book['id']}")
    await browser.send(page.form("/cart/lines"))
    await browser.checkout(name=NASTY[:110])
    order = browser.path
    paths = ["/", "/cart", "/account", "/account/addresses", "/account/messages", order, f"/products/{book['id']}"]
    searches = [f"/search?query={NASTY}", f"/sign-in?next=/{NASTY}"]
    for path in [*paths, *searches, "/checkout"]:
        check_no_foreign_markup(await browser.get(path))


def check_no_foreign_markup(page: Page) -> None:
    assert not [e for e in page.elements if any(name.startswith("on") for name in e.attributes)]
    assert not page.all("img", src="x")
    for script in page.all("script"):
        assert script.attributes.get("src", "").startswith("/static/") or script.attributes["type"].endswith("ld+json")
        assert "alert" not in script.attributes.get("src", "")


@pytest.mark.parametrize("path", ["/", "/cart", "/sign-in", "/nowhere"])
async def test_pages_carry_a_strict_policy(browser: Browser, path: str) -> None:
    answer = await browser.client.get(path)
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "private, no-cache"


async def test_pages_of_a_signed_in_user_are_not_cached(browser: Browser) -> None:
    await browser.sign_in()
    assert (await browser.client.get("/")).headers["cache-control"] == "no-store"


async def test_pages_comply_with_their_content_security_policy(browser: Browser) -> None:
    await browser.add("pride")
    await browser.sign_in()
    for path in ("/", "/cart", "/checkout", "/account", f"/products/{product_id('pride')}"):
        page = await browser.get(path)
        assert not page.all("style")
        assert not [e for e in page.elements if "style" in e.attributes]
        assert not [e for e in page.elements if e.attributes.get("src", "/").startswith("http")]


async def test_a_module_imports_others_by_the_hash_of_their_content(client: httpx.AsyncClient) -> None:
    modules = {name: asset for name, asset in ASSETS.items() if b"import " in asset.body and name.endswith(".js")}
    imports = [(name, path) for name in modules for path in IMPORTED.findall(modules[name].body.decode())]
    assert ("stack.js", f"../{ASSETS['stack-rules.js'].digest}/stack-rules.js") in imports
    for name, path in imports:
        answer = await client.get(httpx.URL(asset_url(name)).join(path).path)
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"


async def test_static_files_are_named_by_content_and_kept(client: httpx.AsyncClient) -> None:
    for name in assets.ASSETS:
        answer = await client.get(asset_url(name))
        assert answer.status_code == 200
        assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
        assert "set-cookie" not in answer.headers
        again = await client.get(asset_url(name), headers={"if-none-match": answer.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
    old = await client.get("/static/000000000000/shop.css")
    assert old.headers["cache-control"] == "public, max-age=3600"
    assert (await client.get("/static/000000000000/..%2fsettings.py")).status_code == 404
    assert (await client.get("/static/0/settings.py")).status_code == 404
    assert (await client.get("/favicon.ico")).headers["content-type"] == "image/svg+xml"


@pytest.mark.parametrize("signed_in_as", ["visitor", "customer", "admin"])
async def test_pages_are_accessible(browser: Browser, signed_in_as: str) -> None:
    paths = ["/", "/search", f"/products/{product_id('pride')}", "/cart", "/nowhere"]
    await browser.add("pride")
    if signed_in_as == "visitor":
        paths += ["/sign-in", "/sign-up"]
    elif signed_in_as == "customer":
        await browser.sign_in()
        await browser.checkout()
        paths += [browser.path, "/account", "/account/addresses", "/account/messages"]
        await browser.add("rocks")
        paths += ["/checkout"]
    else:
        await browser.sign_in_as_admin()
        paths += ["/admin", "/admin/stock", "/admin/promotions", "/admin/promotions/new", "/admin/messages"]
    for path in paths:
        answer = await browser.client.get(path)
        check_accessible(Page(answer.text), path)


def check_accessible(page: Page, path: str) -> None:
    assert page.one("html").attributes["lang"] == "en", path
    assert page.one("title").text.strip(), path
    assert len(page.all("h1")) == 1, path
    assert page.one("main").attributes["id"] == "main", path
    first_link = page.all("a")[0]
    assert first_link.attributes["href"] == "#main", path
    levels = [int(e.tag[1]) for e in page.elements if re.fullmatch(r"h[1-6]", e.tag)]
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels)), (path, levels)
    ids = [e.attributes["id"] for e in page.elements if "id" in e.attributes]
    assert len(ids) == len(set(ids)), (path, ids)
    assert not [e.attributes for e in page.elements if e.tag in LABELLED and not is_labelled(page, e)], path
    assert not [e for e in page.all("img") if "alt" not in e.attributes], path
    nameless = [
        e for e in (*page.all("a"), *page.all("button")) if not (e.text.strip() or e.attributes.get("aria-label"))
    ]
    assert not nameless, path
    described = [e.attributes["aria-describedby"] for e in page.elements if "aria-describedby" in e.attributes]
    assert set(described) <= set(ids), path


def is_labelled(page: Page, element: Element) -> bool:
    if element.attributes.get("type") == "hidden" or "aria-label" in element.attributes or element.inside("label"):
        return True
    return bool(page.all("label", **{"for": element.attributes.get("id", "-")}))


def colours(scheme: str) -> dict[str, str]:
    style = (STATIC_DIR / "shop.css").read_text(encoding="utf-8")
    light, dark = re.findall(r":root \{(.*?)\n ? ?\}", style, re.DOTALL)[:2]
    return dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", dark if scheme == "dark" else light))


def luminance(colour: str) -> float:
    channels = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("ink", ["ink", "soft", "accent", "good", "warn", "bad"])
@pytest.mark.parametrize("ground", ["paper", "sheet", "tint"])
def test_text_has_contrast(scheme: str, ink: str, ground: str) -> None:
    named = colours(scheme)
    assert contrast(named[ink], named[ground]) >= MIN_CONTRAST


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_buttons_edges_and_focus_have_contrast(scheme: str) -> None:
    named = colours(scheme)
    assert contrast(named["on-accent"], named["accent"]) >= MIN_CONTRAST
    assert contrast(named["on-accent"], named["accent-deep"]) >= MIN_CONTRAST
    assert contrast(named["edge"], named["sheet"]) >= 3
    assert contrast(named["focus"], named["paper"]) >= 3


def test_style_sheet_stays_small_and_local() -> None:
    style = (STATIC_DIR / "shop.css").read_bytes()
    assert len(style) < MAX_STYLE_BYTES
    assert b"url(" not in style
    assert b"@import" not in style
    assert b"prefers-reduced-motion" in style


@pytest.mark.parametrize(
    "path", ["/", "/search?query=pride", "/category/science%20%26%20nature", "/cart", "/account", "/sign-in"]
)
async def test_pages_are_never_compressed(browser: Browser, path: str) -> None:
    """They contain a form token and personal data beside text that an attacker may have chosen (BREACH)."""
    await browser.sign_in()
    page = await browser.get(path, 200, **{"Accept-Encoding": "gzip"})
    assert "content-encoding" not in browser.answer.headers
    assert page.html


async def test_static_files_are_compressed_and_set_no_cookie(client: httpx.AsyncClient) -> None:
    for path in (asset_url("shop.css"), asset_url("htmx-4.0.1.min.js")):
        answer = await client.get(path, headers={"Accept-Encoding": "gzip"})
        assert answer.headers["content-encoding"] == "gzip"
        assert "set-cookie" not in answer.headers
    assert "set-cookie" not in (await client.get("/favicon.ico")).headers
