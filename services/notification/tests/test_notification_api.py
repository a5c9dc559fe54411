"""Messages over HTTP: own ones for users, all for administrators."""

from __future__ import annotations

from typing import Any

import pytest

from shop.devkit.testing import Tokens


async def pages(client: Any, path: str, headers: dict[str, str], **params: Any) -> list[dict[str, Any]]:
    """All items of a list, page by page."""
    items: list[dict[str, Any]] = []
    cursor: str | None = None
    for _ in range(50):
        query = params | ({"cursor": cursor} if cursor else {})
        answer = await client.get(path, params=query, headers=headers)
        assert answer.status_code == 200, answer.text
        page = answer.json()
        items += page["items"]
        cursor = page["next_cursor"]
        if cursor is None:
            return items
    raise AssertionError("the pages do not end")


async def test_users_see_only_their_own_messages(service: Any, samples: Any, more_samples: Any, tokens: Tokens) -> None:
    other = more_samples()
    await service.wait_until_taken(await service.publish(samples.registered(), samples.confirmed(), other.confirmed()))
    await service.wait_until_sent()
    own = await pages(service.client, "/api/v1/notifications", tokens.headers(user_id=samples.user_id))
    assert {item["template"] for item in own} == {"welcome", "order-confirmed"}
    order = next(item for item in own if item["template"] == "order-confirmed")
    assert order["order_id"] == str(samples.order_id)
    assert (order["channel"], order["state"]) == ("email", "sent")
    assert order["subject"].startswith("Your order")
    assert order["sent_at"]
    assert "body_text" not in order
    assert await pages(service.client, "/api/v1/notifications", tokens.headers()) == []


async def test_the_owners_alert_belongs_to_no_user(start_service: Any, smtp: Any, samples: Any, tokens: Tokens) -> None:
    options = {"sms_webhook_url": "http://127.0.0.1:9", "sms_recipient": "+49151"}
    async with start_service(smtp_url=smtp.url, **options) as service:
        await service.wait_until_taken(await service.publish(samples.rejected()))
        own = await pages(service.client, "/api/v1/notifications", tokens.headers(user_id=samples.user_id))
        everything = await pages(service.client, "/api/v1/notifications/all", tokens.headers("admin"))
    assert [item["channel"] for item in own] == ["email"]
    assert sorted(item["channel"] for item in everything) == ["email", "sms"]


async def test_pages_neither_repeat_nor_skip(service: Any, samples: Any, more_samples: Any, tokens: Tokens) -> None:
    published = [samples.confirmed(order_id=more_samples().order_id) for _ in range(7)]
    await service.wait_until_taken(await service.publish(*published))
    headers = tokens.headers(user_id=samples.user_id)
    own = await pages(service.client, "/api/v1/notifications", headers, limit=3)
    assert len({item["id"] for item in own}) == len(own) == 7
    assert [item["id"] for item in own] == sorted((item["id"] for item in own), reverse=True)


async def test_administrators_read_and_filter_everything(
    service: Any, smtp: Any, samples: Any, more_samples: Any, tokens: Tokens
) -> None:
    other = more_samples()
    smtp.refuse_recipients[other.email] = "550 5.1.1 no such user"
    await service.wait_until_taken(await service.publish(samples.confirmed(), other.confirmed()))
    await service.wait_until_sent()
    admin = tokens.headers("admin")
    path = "/api/v1/notifications/all"
    assert len(await pages(service.client, path, admin, limit=1)) == 2
    (failed,) = await pages(service.client, path, admin, state="failed")
    assert failed["recipient"] == other.email
    assert "no such user" in failed["error"]
    (about,) = await pages(service.client, path, admin, order_id=str(other.order_id))
    assert about["id"] == failed["id"]
    (sent,) = await pages(service.client, path, admin, recipient=samples.email)
    assert sent["state"] == "sent"
    assert "Moby-Dick" in sent["body_text"]
    assert "Moby-Dick" in sent["body_html"]
    assert await pages(service.client, path, admin, recipient=samples.email, state="failed") == []


async def test_authorization(service: Any, tokens: Tokens) -> None:
    for path in ("/api/v1/notifications", "/api/v1/notifications/all", "/api/v1/notifications/mailbox"):
        assert (await service.client.get(path)).status_code == 401
        for bad in (tokens.expired(), tokens.forged()):
            assert (await service.client.get(path, headers={"Authorization": f"Bearer {bad}"})).status_code == 401
    for path in ("/api/v1/notifications/all", "/api/v1/notifications/mailbox"):
        answer = await service.client.get(path, headers=tokens.headers())
        assert (answer.status_code, answer.json()["code"]) == (403, "admin_only")


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("limit=0", 422),
        ("limit=101", 422),
        ("limit=x", 422),
        ("cursor=nonsense", 400),
        ("cursor=WyJub3QgYSB1dWlkIl0", 400),
        ("state=lost", 422),
        ("recipient=" + "x" * 400, 422),
        ("recipient=%00", 400),
    ],
)
async def test_invalid_parameters(service: Any, tokens: Tokens, query: str, status: int) -> None:
    answer = await service.client.get(f"/api/v1/notifications/all?{query}", headers=tokens.headers("admin"))
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"


async def test_without_a_mailbox_its_list_is_not_found(service: Any, tokens: Tokens) -> None:
    answer = await service.client.get("/api/v1/notifications/mailbox", headers=tokens.headers("admin"))
    assert (answer.status_code, answer.json()["code"]) == (404, "no_mailbox")
