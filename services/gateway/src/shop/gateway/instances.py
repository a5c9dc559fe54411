"""GET /api/v1/services: the services and their instances as this gateway sees them; and the registration of others."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from fastapi import Depends, Path
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field

from shop.gateway.gateway import Gateway
from shop.kit.app import service_of
from shop.kit.auth import MaybeUser, internal_only
from shop.kit.balancing.breaker import State
from shop.kit.balancing.instance import Instance
from shop.kit.discovery.membership import BASE_URL, HOST_AND_PORT, ID, RENEW_S, SERVICE, TTL_S, Registration
from shop.kit.discovery.registry import Registry
from shop.kit.errors import Problem
from shop.kit.http.pool import ServicePool
from shop.kit.routing import router as make_router
from shop.kit.upstreams import upstream_router

Service = Annotated[Gateway, Depends(service_of)]
Name = Annotated[str, Path(pattern=f"^{SERVICE}$")]
Id = Annotated[str, Path(pattern=f"^{ID}$")]

UPSTREAMS = "/api/v1/services/upstreams"
"""For the internal token, as registration is; paths under /internal are not answered here."""

router = make_router(tags=["gateway"])
upstreams = upstream_router(UPSTREAMS)


class InstanceState(BaseModel):
    """``latency_ms`` is what the next request is expected to take, ``load`` what the instance itself reports."""

    id: str
    url: str
    healthy: bool
    version: str
    zone: str
    requests_in_flight: int
    streams: int
    latency_ms: float
    load: int | None = None
    ejected: bool
    ejections: int


class ServiceState(BaseModel):
    """``instances`` only for administrators."""

    name: str
    healthy: bool
    instances: list[InstanceState] | None = None


class ServiceList(BaseModel):
    items: list[ServiceState]
    next_cursor: None = None


class NewRegistration(BaseModel):
    """``url`` is where the instance listens, without a path; ``grpc`` host and port of its gRPC server."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"examples": [{"url": "http://10.0.0.7:8000"}]})

    url: str = Field(pattern=f"^{BASE_URL}$")
    grpc: str = Field(default="", pattern=f"^{HOST_AND_PORT}$")
    version: str = Field(default="", max_length=64)
    zone: str = Field(default="", max_length=64)
    inflight: int = Field(default=0, ge=0)


class Registered(BaseModel):
    """Register again every ``renew_s`` seconds; after ``ttl_s`` without that the registration ends."""

    ttl_s: float
    renew_s: float


@router.get("/api/v1/services", response_model_exclude_none=True)
async def list_services(service: Service, person: MaybeUser) -> ServiceList:
    """The services of this shop and whether they are available; for administrators with their instances."""
    everything = person is not None and person.role == "admin"
    pools = [pool for name, pool in sorted(service.upstreams.items()) if service.joined.present(name)]
    return ServiceList(items=[_state(service, pool, everything) for pool in pools])


@router.put("/api/v1/services/{name}/instances/{id}", include_in_schema=False, dependencies=[Depends(internal_only)])
async def register_instance(service: Service, name: Name, id: Id, body: NewRegistration) -> Registered:
    await _registry(service).put(Registration(service=name, id=id, **body.model_dump()))
    return Registered(ttl_s=TTL_S, renew_s=RENEW_S)


@router.delete(
    "/api/v1/services/{name}/instances/{id}",
    include_in_schema=False,
    dependencies=[Depends(internal_only)],
    status_code=204,
)
async def remove_instance(service: Service, name: Name, id: Id) -> Response:
    await _registry(service).remove(f"{name}.{id}")
    return Response(status_code=204)


def _registry(service: Gateway) -> Registry:
    if not isinstance(service.discovery, Registry):
        raise Problem(409, "no_registry", "This shop finds its instances without a registry.")
    return service.discovery


def _state(service: Gateway, pool: ServicePool, everything: bool) -> ServiceState:
    instances = list(_instances(service, pool)) if everything else None
    return ServiceState(name=pool.service, healthy=pool.balancer.usable > 0, instances=instances)


def _instances(service: Gateway, pool: ServicePool) -> Iterator[InstanceState]:
    known = service.discovery.members.of(pool.service) if isinstance(service.discovery, Registry) else {}
    for one in pool.instances:
        registered = known.get(one.base_url)
        yield _instance(one, pool.balancer.now(), registered.inflight if registered else None)


def _instance(one: Instance, now: float, load: int | None) -> InstanceState:
    ejected = one.breaker.state is not State.CLOSED
    return InstanceState(
        id=one.about.id or one.base_url,
        url=one.base_url,
        healthy=one.healthy and not one.refused and not ejected,
        version=one.about.version,
        zone=one.about.zone,
        requests_in_flight=one.inflight,
        streams=one.streams,
        latency_ms=round(1_000 * one.latency_s(now), 1),
        load=load,
        ejected=ejected,
        ejections=one.ejections,
    )
