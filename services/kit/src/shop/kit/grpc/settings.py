"""Settings of a service that has a gRPC server."""

from __future__ import annotations

from pydantic import Field

from shop.kit.settings import ServiceSettings


class GrpcSettings(ServiceSettings):
    """``grpc_port`` 0 is a free port, for tests; the default host is every IPv6 and IPv4 address."""

    grpc_host: str = "[::]"
    grpc_port: int = Field(default=50_051, ge=0, le=65_535)
    grpc_max_concurrent_calls: int = Field(default=1_024, ge=1)
    grpc_max_connection_age_s: float = Field(default=15.0, gt=0)
    """How long a connection takes new calls; then its client connects again, and to new instances as well."""
