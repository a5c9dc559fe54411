"""The least application that does what food orders, rounds, recommendations and live tracking must: their floor.

FastAPI, asyncpg and one Valkey client; one process with one database, no other service, no saga, no events, no replays
of moves. What is stored durably is what the shop stores for the same operation, in one transaction.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import defaultdict
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import orjson
from fastapi import FastAPI, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel
from redis.asyncio import Redis

POOL_SIZE = 8
MAX_UNSENT = 64
"""Positions that wait for one watcher; further ones are dropped."""
BOARD = "bare:board"
SCHEMA = """
CREATE TABLE orders (id uuid PRIMARY KEY, restaurant uuid, total int, state text, address jsonb,
    created_at timestamptz DEFAULT now());
CREATE TABLE tickets (order_id uuid PRIMARY KEY, restaurant uuid, items jsonb, ready_at timestamptz DEFAULT now());
CREATE TABLE payments (id uuid PRIMARY KEY, order_id uuid UNIQUE, amount int, state text);
CREATE TABLE ledger (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, payment_id uuid, account text, amount int);
CREATE TABLE deliveries (order_id uuid PRIMARY KEY, state text, address jsonb, updated_at timestamptz DEFAULT now());
CREATE TABLE outbox (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, subject_id uuid, payload text);
CREATE TABLE results (id uuid PRIMARY KEY, player_id uuid, moves int[], score int, at timestamptz DEFAULT now());
CREATE TABLE players (id uuid PRIMARY KEY, rounds int, best_score int, xp int);
CREATE TABLE xp (player_id uuid, cause text, xp int, PRIMARY KEY (player_id, cause));
"""
ORDER = "INSERT INTO orders (id, restaurant, total, state, address) VALUES ($1, $2, $3, 'confirmed', $4)"
TICKET = "INSERT INTO tickets (order_id, restaurant, items) VALUES ($1, $2, $3)"
PAYMENT = "INSERT INTO payments (id, order_id, amount, state) VALUES ($1, $2, $3, 'captured')"
LEDGER = "INSERT INTO ledger (payment_id, account, amount) VALUES ($1, 'provider', $2), ($1, 'revenue', -$2)"
DELIVERY = "INSERT INTO deliveries (order_id, state, address) VALUES ($1, 'waiting', $2)"
EVENT = "INSERT INTO outbox (subject_id, payload) VALUES ($1, $2)"
RESULT = "INSERT INTO results (id, player_id, moves, score) VALUES ($1, $2, $3, $4)"
TOTALS = """
INSERT INTO players (id, rounds, best_score, xp) VALUES ($1, 1, $2, 10) ON CONFLICT (id) DO UPDATE
SET rounds = players.rounds + 1, best_score = greatest(players.best_score, excluded.best_score), xp = players.xp + 10"""
XP = "INSERT INTO xp (player_id, cause, xp) VALUES ($1, $2, 10)"
PRICE = 900


class FoodOrder(BaseModel):
    restaurant_id: UUID
    items: list[dict[str, Any]]
    address: dict[str, str]


class Round(BaseModel):
    player_id: UUID
    moves: list[int]
    score: int


class Fix(BaseModel):
    lat: float
    lon: float
    at: datetime


@contextlib.asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with asyncpg.create_pool(os.environ["BARE_DATABASE_URL"], min_size=1, max_size=POOL_SIZE) as pool:
        app.state.pool = pool
        app.state.valkey = Redis.from_url(os.environ["BARE_VALKEY_URL"])
        app.state.watchers = defaultdict(set)
        yield
        await app.state.valkey.aclose()


app = FastAPI(lifespan=lifespan)


@app.post("/orders", status_code=201)
async def place(order: FoodOrder, request: Request) -> dict[str, Any]:
    """Order, ticket, payment with its ledger, delivery and the event, in one transaction."""
    order_id, payment_id = uuid4(), uuid4()
    address = orjson.dumps(order.address).decode()
    async with request.app.state.pool.acquire() as connection, connection.transaction():
        await connection.execute(ORDER, order_id, order.restaurant_id, PRICE, address)
        await connection.execute(TICKET, order_id, order.restaurant_id, orjson.dumps(order.items).decode())
        await connection.execute(PAYMENT, payment_id, order_id, PRICE)
        await connection.execute(LEDGER, payment_id, PRICE)
        await connection.execute(DELIVERY, order_id, address)
        await connection.execute(EVENT, order_id, '{"type": "order.confirmed.v1"}')
    return {"id": order_id, "state": "confirmed", "total": PRICE}


@app.post("/rounds")
async def finish(played: Round, request: Request) -> dict[str, Any]:
    """The result, the player's totals and points, and the event in one transaction; then the board and the rank."""
    result_id = uuid4()
    async with request.app.state.pool.acquire() as connection, connection.transaction():
        await connection.execute(RESULT, result_id, played.player_id, played.moves, played.score)
        await connection.execute(TOTALS, played.player_id, played.score)
        await connection.execute(XP, played.player_id, f"result:{result_id}")
        await connection.execute(EVENT, result_id, '{"type": "player.scored.v1"}')
    valkey, member = request.app.state.valkey, str(played.player_id)
    await valkey.zadd(BOARD, {member: played.score}, gt=True)
    return {"score": played.score, "rank": await valkey.zrevrank(BOARD, member) + 1}


@app.put("/answer")
async def keep(request: Request) -> None:
    """What `recommendations` answers from now on."""
    request.app.state.answer = orjson.loads(await request.body())


@app.get("/recommendations")
async def recommendations(request: Request, max_results: int = 10) -> Response:
    """The same answer each time, written anew."""
    items = request.app.state.answer["items"][:max_results]
    return Response(orjson.dumps({"items": items}), media_type="application/json")


@app.post("/positions/{courier}", status_code=204)
async def locate(courier: int, fix: Fix, request: Request) -> None:
    """Hand the position to everybody who watches the courier; nothing is stored."""
    sent = b"event: position\ndata: %s\n\n" % orjson.dumps(fix.model_dump())
    for unsent in request.app.state.watchers[courier]:
        if not unsent.full():
            unsent.put_nowait(sent)


@app.get("/events/{courier}")
async def watch(courier: int, request: Request) -> StreamingResponse:
    async def events() -> AsyncIterator[bytes]:
        unsent: asyncio.Queue[bytes] = asyncio.Queue(MAX_UNSENT)
        request.app.state.watchers[courier].add(unsent)
        try:
            yield b"event: state\ndata: {}\n\n"
            while True:
                yield await unsent.get()
        finally:
            request.app.state.watchers[courier].discard(unsent)

    return StreamingResponse(events(), media_type="text/event-stream")
