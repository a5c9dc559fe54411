"""Settings of recommendation: those of every service with a gRPC server, and its own."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from shop.kit.grpc import GrpcSettings


class Settings(GrpcSettings):
    """``recommendation_entries_per_user`` limits what one user may store."""

    service: ClassVar[str] = "recommendation"

    recommendation_entries_per_user: int = Field(default=1_000, ge=1)
