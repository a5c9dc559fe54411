"""What public endpoints take as JSON."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class RequestBody(BaseModel):
    """A field that the endpoint does not know is refused, so that a misspelt one is never ignored.

    Bodies between services are read leniently instead: during an upgrade the caller may be newer.
    """

    model_config = ConfigDict(extra="forbid")
