from __future__ import annotations

from services.gateway.tests.conftest import Open

BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


async def test_without_the_storefront_a_browser_gets_a_page_and_a_program_a_problem(open_shop: Open) -> None:
    async with open_shop(down=("storefront", "product")) as shop:
        page = await shop.client.get("/", headers=BROWSER)
        assert (page.status_code, page.headers["content-type"]) == (503, "text/html; charset=utf-8")
        assert int(page.headers["retry-after"]) > 0
        assert page.headers["cache-control"] == "no-store"
        assert "<h1>The shop is not available at the moment</h1>" in page.text
        for path, headers in (("/", {"Accept": "*/*"}), ("/api/v1/products", BROWSER)):
            answer = await shop.client.get(path, headers=headers)
            assert (answer.status_code, answer.headers["content-type"]) == (503, "application/problem+json")
