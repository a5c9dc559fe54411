"""Proxies an order's server-sent events: a browser has a session cookie, the order service wants an access token."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from uuid import UUID

import httpx
from starlette.responses import Response, StreamingResponse

from shop.kit.http.client import open_transport

MAX_STREAM_S = 600.0
"""A stream is closed after this time; the browser reconnects and resumes with Last-Event-ID."""

MAX_STREAMS = 512
CONNECT_TIMEOUT_S = 3.0
RETRY_MS = 3000
HEADERS = {"X-Accel-Buffering": "no"}
RETRY_EVENT = f"retry: {RETRY_MS}\n\n".encode()


class OrderStreams:
    """At most MAX_STREAMS streams per process; a page without a stream still works by reloading."""

    def __init__(self, order_urls: str) -> None:
        self._urls = [url.strip().rstrip("/") for url in order_urls.split(",") if url.strip()]
        limits = httpx.Limits(max_connections=MAX_STREAMS)
        timeout = httpx.Timeout(CONNECT_TIMEOUT_S, read=MAX_STREAM_S)
        self._client = httpx.AsyncClient(transport=open_transport(limits), timeout=timeout, trust_env=False)
        self._open = 0

    async def open(self, token: str, order_id: UUID, last_event_id: str) -> Response:
        """The stream. 204 tells the browser not to reconnect; an empty stream tells it to try again later."""
        if self._open >= MAX_STREAMS:
            return Response(status_code=204)
        url = f"{random.choice(self._urls)}/api/v1/orders/{order_id}/events"
        headers = {"authorization": f"Bearer {token}", "accept": "text/event-stream"}
        if last_event_id:
            headers["last-event-id"] = last_event_id
        try:
            upstream = await self._client.send(self._client.build_request("GET", url, headers=headers), stream=True)
        except httpx.HTTPError:
            return Response(RETRY_EVENT, headers=HEADERS, media_type="text/event-stream")
        if upstream.status_code != 200:
            await upstream.aclose()
            return Response(status_code=204)
        return StreamingResponse(self._forward(upstream), headers=HEADERS, media_type="text/event-stream")

    async def _forward(self, upstream: httpx.Response) -> AsyncIterator[bytes]:
        self._open += 1
        try:
            async with asyncio.timeout(MAX_STREAM_S):
                yield RETRY_EVENT
                async for chunk in upstream.aiter_raw():
                    yield chunk
        except (httpx.HTTPError, TimeoutError, OSError):
            return
        finally:
            self._open -= 1
            await upstream.aclose()

    async def close(self) -> None:
        await self._client.aclose()
