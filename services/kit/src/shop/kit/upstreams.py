"""Routes for the control room: how this process's calls to other services do, and levers on them.

They change this process alone. A breaker is closed again, and a fault ends, by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from shop.kit.auth import internal_only
from shop.kit.balancing.breaker import MEASURED, State
from shop.kit.errors import Problem
from shop.kit.http.faults import MAX_FAULT_S, MAX_LATENCY_S, Fault
from shop.kit.http.pool import ServicePool

PREFIX = "/internal/upstreams"
MAX_OPEN_S = 300.0


class FaultState(BaseModel):
    """A fault and how long it lasts."""

    latency_ms: float
    error_percent: float
    seconds: float


class UpstreamState(BaseModel):
    """One called service; ``breaker`` is the worst of its instances."""

    name: str
    breaker: State
    known: int
    usable: int
    fault: FaultState | None = None


class Upstreams(BaseModel):
    """``may_inject``: whether this process accepts faults."""

    items: list[UpstreamState]
    may_inject: bool


class BreakerOrder(BaseModel):
    """``seconds`` is how long an open breaker stays so."""

    model_config = ConfigDict(extra="forbid")

    state: Literal["open", "closed"]
    seconds: float = Field(default=60.0, gt=0, le=MAX_OPEN_S)


class FaultOrder(BaseModel):
    """To each request ``latency_ms`` are added, and ``error_percent`` of them fail. Both 0 end a fault."""

    model_config = ConfigDict(extra="forbid")

    latency_ms: float = Field(default=0.0, ge=0, le=MAX_LATENCY_S * 1_000)
    error_percent: float = Field(default=0.0, ge=0, le=100)
    seconds: float = Field(default=60.0, gt=0, le=MAX_FAULT_S)


def pools_of(request: Request) -> Mapping[str, ServicePool]:
    """The pools of this process by service."""
    pools: Mapping[str, ServicePool] = request.app.state.context.pools
    return pools


async def chosen(request: Request, name: str) -> ServicePool:
    """The pool that the path names."""
    pool = pools_of(request).get(name)
    if pool is None:
        raise Problem(404, "unknown_upstream", "This process does not call a service of this name.")
    return pool


Chosen = Annotated[ServicePool, Depends(chosen)]


async def list_upstreams(request: Request) -> Upstreams:
    found = sorted(pools_of(request).items())
    return Upstreams(items=[_state(name, pool) for name, pool in found], may_inject=_may_inject(request))


async def set_breaker(pool: Chosen, body: BreakerOrder) -> Response:
    if body.state == "open":
        pool.balancer.hold_open(body.seconds)
    else:
        pool.balancer.close_breakers()
    return Response(status_code=204)


async def set_fault(request: Request, pool: Chosen, body: FaultOrder) -> Response:
    if not _may_inject(request):
        raise Problem(409, "faults_not_allowed", "Faults are injected on a shop on one machine alone.")
    until = pool.balancer.now() + body.seconds
    wanted = body.latency_ms or body.error_percent
    pool.fault = Fault(body.latency_ms / 1_000, body.error_percent / 100, until) if wanted else None
    return Response(status_code=204)


def upstream_router(prefix: str = PREFIX) -> APIRouter:
    """The routes, for the internal token alone."""
    router = APIRouter(prefix=prefix, include_in_schema=False, dependencies=[Depends(internal_only)])
    router.add_api_route("", list_upstreams, methods=["GET"])
    router.add_api_route("/{name}/breaker", set_breaker, methods=["PUT"], status_code=204)
    router.add_api_route("/{name}/fault", set_fault, methods=["PUT"], status_code=204)
    return router


def _may_inject(request: Request) -> bool:
    return bool(request.app.state.context.settings.fault_injection)


def _state(name: str, pool: ServicePool) -> UpstreamState:
    worst = max((one.breaker.state for one in pool.instances), key=MEASURED.__getitem__, default=State.CLOSED)
    return UpstreamState(
        name=name, breaker=worst, known=len(pool.instances), usable=pool.balancer.usable, fault=_fault(pool)
    )


def _fault(pool: ServicePool) -> FaultState | None:
    fault, now = pool.fault, pool.balancer.now()
    if fault is None or now >= fault.until:
        return None
    return FaultState(
        latency_ms=fault.latency_s * 1_000, error_percent=fault.error_share * 100, seconds=round(fault.until - now, 1)
    )
