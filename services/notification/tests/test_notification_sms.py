"""Text messages: a signed webhook with retries."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import httpx
import orjson
import pytest
from fastapi import FastAPI, Request, Response

from shop.devkit.testing import wait_until
from shop.kit.ids import new_id
from shop.notification.providers import SIGNATURE_HEADER, Deferred, Down, Outgoing, Refused, WebhookProvider, signature
from shop.notification.render import Rendered

SECRET = "whsec"
PHONE = "+4915112345678"


@dataclass
class Gateway:
    """An SMS gateway on a real port, which records its requests."""

    url: str = ""
    statuses: list[int] = field(default_factory=list)
    requests: list[tuple[httpx.Headers, bytes]] = field(default_factory=list)


@pytest.fixture
async def gateway(served: Callable[..., Any]) -> AsyncIterator[Gateway]:
    gateway = Gateway()
    app = FastAPI()

    @app.post("/sms")
    async def take(request: Request) -> Response:
        gateway.requests.append((httpx.Headers(request.headers.raw), await request.body()))
        return Response(status_code=gateway.statuses.pop(0) if gateway.statuses else 202)

    async with served(app) as client:
        gateway.url = f"{client.base_url}/sms"
        yield gateway


@pytest.fixture
async def provider(gateway: Gateway) -> AsyncIterator[WebhookProvider]:
    provider = WebhookProvider(gateway.url, SECRET)
    yield provider
    await provider.close()


def message() -> Outgoing:
    return Outgoing(new_id(), PHONE, Rendered("ignored", "Hello\n", None), datetime(2026, 5, 1, tzinfo=UTC))


async def test_a_message_is_posted_and_signed(provider: WebhookProvider, gateway: Gateway) -> None:
    sent = message()
    await provider.send(sent)
    ((headers, body),) = gateway.requests
    assert orjson.loads(body) == {"id": str(sent.id), "to": PHONE, "text": "Hello"}
    assert headers["idempotency-key"] == str(sent.id)
    timestamp = int(headers[SIGNATURE_HEADER].split(",")[0].removeprefix("t="))
    assert headers[SIGNATURE_HEADER] == signature(SECRET, timestamp, body)
    assert signature("other", timestamp, body) != headers[SIGNATURE_HEADER]
    assert signature(SECRET, timestamp + 1, body) != headers[SIGNATURE_HEADER]


@pytest.mark.parametrize(
    ("status", "verdict"), [(400, Refused), (403, Refused), (429, Deferred), (408, Deferred), (500, Deferred)]
)
async def test_responses_of_the_webhook(
    provider: WebhookProvider, gateway: Gateway, status: int, verdict: type[Exception]
) -> None:
    gateway.statuses = [status]
    with pytest.raises(verdict):
        await provider.send(message())


async def test_an_unreachable_webhook_uses_up_no_attempt() -> None:
    provider = WebhookProvider("http://127.0.0.1:9/sms", SECRET)
    with pytest.raises(Down):
        await provider.send(message())
    await provider.close()


async def test_the_owner_is_alerted_once_about_a_late_rejection(
    start_service: Any, smtp: Any, gateway: Gateway, samples: Any
) -> None:
    gateway.statuses = [503]
    options = {"sms_webhook_url": gateway.url, "sms_webhook_secret": SECRET, "sms_recipient": PHONE}
    async with start_service(smtp_url=smtp.url, **options) as service:
        rows = await service.publish(samples.rejected(), samples.confirmed())
        await service.publish_rows(rows[:1])
        await service.wait_until_taken(rows)
        await service.wait_until_sent()
        await wait_until(lambda: len(gateway.requests) == 2)
    texts = [orjson.loads(body)["text"] for _, body in gateway.requests]
    assert "accepted as pending and then rejected" in texts[0]
    assert texts[0] == texts[1]
    assert gateway.requests[0][0]["idempotency-key"] == gateway.requests[1][0]["idempotency-key"]
    assert len(smtp.raw) == 2


@pytest.mark.parametrize("missing", ["sms_webhook_url", "sms_recipient"])
async def test_without_url_or_recipient_there_are_no_text_messages(
    start_service: Any, smtp: Any, gateway: Gateway, samples: Any, missing: str
) -> None:
    options = {"sms_webhook_url": gateway.url, "sms_recipient": PHONE} | {missing: ""}
    async with start_service(smtp_url=smtp.url, **options) as service:
        await service.wait_until_taken(await service.publish(samples.rejected()))
        await service.wait_until_sent()
        assert await service.count("channel = 'sms'") == 0
    assert not gateway.requests


async def test_messages_on_one_channel_do_not_wait_for_the_other(
    start_service: Any, smtp: Any, gateway: Gateway, samples: Any
) -> None:
    await smtp.stop()
    options = {"sms_webhook_url": gateway.url, "sms_recipient": PHONE}
    async with start_service(smtp_url=smtp.url, **options) as service:
        await service.wait_until_taken(await service.publish(samples.rejected()))
        await wait_until(lambda: gateway.requests)
        assert await service.count("channel = 'email' AND state = 'queued'") == 1
    await asyncio.gather(smtp.start())
