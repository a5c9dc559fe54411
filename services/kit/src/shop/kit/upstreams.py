"""Routes for the control room: how this process's calls to other services do, and levers on them.

They change this process alone. A breaker is closed again, and a fault ends, by itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal, Protocol

from fastapi import APIRouter, Depends, Request
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from shop.kit.auth import internal_only
from shop.kit.balancing.balancer import Balancer
from shop.kit.balancing.breaker import MEASURED, State
from shop.kit.errors import Problem
from shop.kit.http.faults import MAX_FAULT_S, MAX_LATENCY_S, Fault

PREFIX = "/internal/upstreams"
MAX_OPEN_S = 300.0


class FaultState(BaseModel):
    """A fault and how long it lasts."""

    latency_ms: float
    error_percent: float
    seconds: float


class UpstreamState(BaseModel):
    """One called service; ``breaker`` is the worst of its instances, ``usable`` the lesser of HTTP's and gRPC's."""

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
    """To each request or gRPC call ``latency_ms`` are added, and ``error_percent`` of them fail. Both 0 end a fault."""

    model_config = ConfigDict(extra="forbid")

    latency_ms: float = Field(default=0.0, ge=0, le=MAX_LATENCY_S * 1_000)
    error_percent: float = Field(default=0.0, ge=0, le=100)
    seconds: float = Field(default=60.0, gt=0, le=MAX_FAULT_S)


class Caller(Protocol):
    """Calls of one kind to a service: a `ServicePool` or a `shop.kit.grpc.GrpcClient`."""

    balancer: Balancer
    fault: Fault | None


class GrpcCaller(Caller, Protocol):
    """A client that knows which service it calls."""

    name: str


def callers_of(request: Request) -> Mapping[str, Sequence[Caller]]:
    """Of this process, by service: one that is called by HTTP and gRPC has two."""
    context = request.app.state.context
    found: dict[str, list[Caller]] = {name: [pool] for name, pool in context.pools.items()}
    for client in context.grpc_clients:
        found.setdefault(client.name, []).append(client)
    return found


async def chosen(request: Request, name: str) -> Sequence[Caller]:
    """The callers of the service that the path names."""
    callers = callers_of(request).get(name)
    if callers is None:
        raise Problem(404, "unknown_upstream", "This process does not call a service of this name.")
    return callers


Chosen = Annotated[Sequence[Caller], Depends(chosen)]


async def list_upstreams(request: Request) -> Upstreams:
    found = sorted(callers_of(request).items())
    return Upstreams(items=[_state(name, callers) for name, callers in found], may_inject=_may_inject(request))


async def set_breaker(callers: Chosen, body: BreakerOrder) -> Response:
    for caller in callers:
        if body.state == "open":
            caller.balancer.hold_open(body.seconds)
        else:
            caller.balancer.close_breakers()
    return Response(status_code=204)


async def set_fault(request: Request, callers: Chosen, body: FaultOrder) -> Response:
    if not _may_inject(request):
        raise Problem(409, "faults_not_allowed", "Faults are injected on a shop on one machine alone.")
    wanted = body.latency_ms or body.error_percent
    for caller in callers:
        until = caller.balancer.now() + body.seconds
        caller.fault = Fault(body.latency_ms / 1_000, body.error_percent / 100, until) if wanted else None
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


def _state(name: str, callers: Sequence[Caller]) -> UpstreamState:
    instances = [one for caller in callers for one in caller.balancer.instances]
    return UpstreamState(
        name=name,
        breaker=max((one.breaker.state for one in instances), key=MEASURED.__getitem__, default=State.CLOSED),
        known=max(len(caller.balancer.instances) for caller in callers),
        usable=min(caller.balancer.usable for caller in callers),
        fault=next((fault for fault in map(_fault, callers) if fault), None),
    )


def _fault(caller: Caller) -> FaultState | None:
    fault, now = caller.fault, caller.balancer.now()
    if fault is None or now >= fault.until:
        return None
    return FaultState(
        latency_ms=fault.latency_s * 1_000, error_percent=fault.error_share * 100, seconds=round(fault.until - now, 1)
    )
