from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import httpx
import pytest

from services.storefront.tests.cart_reads import outdated_pages
from services.storefront.tests.html import Form, Page
from services.storefront.tests.scripted import ScriptedShop
from services.storefront.tests.scripted_data import Person, product_id
from services.storefront.tests.scripted_recommendations import ScriptedRecommendations
from services.storefront.tests.shared import ScriptedServices, shared_app
from shop.contracts.store import StoreSettings
from shop.devkit.testing import INTERNAL_TOKEN, Running
from shop.storefront import service
from shop.storefront.app import make_app
from shop.storefront.arcade import service as arcade_service
from shop.storefront.settings import Settings

PATIENT_S = 5.0
"""So that a busy machine changes nothing; tests of a slow service give less time."""
PASSWORD = "correct horse battery"
CUSTOMER = "ada@example.com"
ADMIN = "admin@shop.local"
ADDRESS = {"name": "Ada Lovelace", "street": "Linden 5", "city": "Berlin", "postal_code": "10117", "country": "DE"}

Served = Callable[..., contextlib.AbstractAsyncContextManager[httpx.AsyncClient]]


class Browser:
    """A browser without JavaScript: cookies, links, and forms filled in by hand."""

    def __init__(self, client: httpx.AsyncClient, shop: ScriptedShop) -> None:
        self.client = client
        self.shop = shop
        self.answer = httpx.Response(0)
        self.page = Page("")

    async def get(self, path: str, status: int = 200, **headers: str) -> Page:
        return self._seen(await self.client.get(path, follow_redirects=True, headers=headers), status)

    async def send(self, form: Form, status: int = 200, button: tuple[str, str] | None = None, **changes: str) -> Page:
        """Submits the form with some fields changed, and follows redirects."""
        data = {**form.fields, **changes, **(dict([button]) if button else {})}
        answer = await self.client.post(form.action, data=data, follow_redirects=True)
        return self._seen(answer, status)

    async def confirm(self, status: int = 200) -> Page:
        """Submits the confirmation form of the page."""
        form = self.page.one("form", id="confirm")
        return await self.send(self.page.form(form.attributes["action"]), status)

    def _seen(self, answer: httpx.Response, status: int) -> Page:
        assert answer.status_code == status, answer.text
        self.answer, self.page = answer, Page(answer.text)
        return self.page

    @property
    def path(self) -> str:
        return self.answer.url.path

    async def add(self, sku: str, quantity: int = 1) -> Page:
        page = await self.get(f"/products/{product_id(sku)}")
        return await self.send(page.form("/cart/lines"), quantity=str(quantity))

    async def sign_in(self, email: str = CUSTOMER, role: str = "customer", back: str = "/") -> Page:
        self.shop.people.setdefault(email, Person("Ada Lovelace", email, PASSWORD, role))
        page = await self.get(f"/sign-in?next={back}")
        return await self.send(page.form("/sign-in"), email=email, password=PASSWORD)

    async def sign_in_as_admin(self) -> Page:
        return await self.sign_in(ADMIN, "admin", "/admin")

    def copy_cookies_to(self, other: httpx.AsyncClient) -> None:
        """Copies this browser's cookies to a client of another address."""
        for cookie in self.client.cookies.jar:
            other.cookies.set(cookie.name, cookie.value or "")

    async def checkout(self, status: int = 200, **changes: str) -> Page:
        """Opens the checkout, fills in an address, and buys."""
        page = await self.get("/checkout")
        return await self.send(page.form("/checkout"), status, ("action", "buy"), **{**ADDRESS, **changes})


@pytest.fixture(autouse=True)
def outdated(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The paths of pages that showed a cart which they changed afterwards: none may."""
    paths = outdated_pages(monkeypatch)
    yield paths
    assert paths == [], "changed the cart after reading it for the page"


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A part that came too late is not asked for in the next second, by no page of the application that tests share. A
    cart that came too late is missing from a page."""
    monkeypatch.setattr(arcade_service, "GAIN_TIMEOUT_S", PATIENT_S)
    monkeypatch.setattr(service, "VALKEY_TIMEOUT_S", PATIENT_S)


@pytest.fixture(scope="session")
def services() -> ScriptedServices:
    return ScriptedServices()


@pytest.fixture(scope="session")
async def services_url(services: ScriptedServices, served: Served) -> AsyncIterator[str]:
    """The address of the scripted services, which is the same for all tests."""
    async with served(services.app, lifespan="off") as client:
        yield str(client.base_url).rstrip("/")


@pytest.fixture
def scripted(services: ScriptedServices) -> ScriptedShop:
    services.shop = ScriptedShop()
    return services.shop


@pytest.fixture
def settings(scripted: ScriptedShop, services_url: str, valkey_url: str) -> Settings:
    names = (
        "product", "pricing", "order", "payment", "user", "notification", "recommendation", "restaurant",
        "delivery", "player", "leaderboard", "achievement",
    )  # fmt: skip
    urls: dict[str, Any] = {f"{name}_url": services_url for name in names}
    store = StoreSettings(title="Marginalia <Books>", ships_to=("DE", "FR", "GB", "HK", "US"))
    own: dict[str, Any] = {"internal_token": INTERNAL_TOKEN, "store": store, "arcade_timeout_s": PATIENT_S, "ops": True}
    return Settings(valkey_url=valkey_url, **urls, **own)


@pytest.fixture
async def client(settings: Settings, running: Running) -> AsyncIterator[httpx.AsyncClient]:
    """A browser's connection to the storefront."""
    async with running(shared_app(settings)) as client:
        yield client


@pytest.fixture
async def recommending() -> AsyncIterator[ScriptedRecommendations]:
    """A recommendation service that runs."""
    service = ScriptedRecommendations()
    await service.start()
    yield service
    await service.stop()


@pytest.fixture
async def market(
    settings: Settings, running: Running, scripted: ScriptedShop, recommending: ScriptedRecommendations
) -> AsyncIterator[Browser]:
    """A browser at a storefront that asks the recommendation service."""
    async with running(make_app(with_recommendations(settings, recommending.address))) as client:
        yield Browser(client, scripted)


def with_recommendations(settings: Settings, address: str, timeout_s: float = 5.0) -> Settings:
    """Patient, so that a busy machine changes nothing; tests of a slow service give less time."""
    return settings.model_copy(update={"recommendation_grpc_url": address, "recommendation_timeout_s": timeout_s})


@pytest.fixture
def browser(client: httpx.AsyncClient, scripted: ScriptedShop) -> Browser:
    return Browser(client, scripted)
