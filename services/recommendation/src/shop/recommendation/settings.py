"""Settings of recommendation: those of every service with a gRPC server, and its own."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from shop.kit.grpc import GrpcSettings


class Settings(GrpcSettings):
    """``model_poll_seconds``: how often a replica looks for a newer model or for changes to train on.
    ``training_pause_seconds``: the least time between two trainings.
    ``catalogue_seconds``: how often the product service's list of products is read. ``lookup_seconds``: how long the
    state of products is waited for; the page that waits for recommendations does so for 150 ms.
    """

    service: ClassVar[str] = "recommendation"

    product_url: str = "http://product:8000"
    model_poll_seconds: float = Field(default=3.0, gt=0, le=10)
    training_pause_seconds: float = Field(default=5.0, ge=0, le=30)
    catalogue_seconds: float = Field(default=20.0, gt=0, le=30)
    lookup_seconds: float = Field(default=0.1, gt=0, le=10)
