"""The way to find instances that the settings ask for."""

from __future__ import annotations

from collections.abc import Callable

from shop.kit.bus import Bus
from shop.kit.discovery.dns import DnsDiscovery
from shop.kit.discovery.interface import Discovery, Fixed
from shop.kit.discovery.kubernetes import EndpointSlices
from shop.kit.discovery.membership import Registration
from shop.kit.discovery.registry import Registry
from shop.kit.settings import ServiceSettings
from shop.kit.version import version_of


def discovery_of(settings: ServiceSettings, bus: Bus, inflight: Callable[[], int]) -> Discovery:
    """``inflight()`` is the load that this process reports, in requests under way."""
    match settings.discovery:
        case "registry":
            return Registry(bus, _own(settings, inflight))
        case "dns":
            return DnsDiscovery()
        case "kubernetes":
            return EndpointSlices(DnsDiscovery())
        case _:
            return Fixed()


def _own(settings: ServiceSettings, inflight: Callable[[], int]) -> Callable[[], Registration] | None:
    """This process's registration as it is now; None for one that is not to be found."""
    if not settings.instance_url:
        return None
    version = version_of(settings.service)
    return lambda: Registration(
        service=settings.service,
        id=settings.instance_id,
        url=settings.instance_url,
        grpc=settings.instance_grpc,
        version=version,
        zone=settings.instance_zone,
        inflight=inflight(),
    )
