"""Request bodies of public endpoints."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict


class RequestBody(BaseModel):
    """A field that the endpoint does not know is refused, so that a misspelled one is never ignored.

    Bodies between services are read leniently instead: during an upgrade the caller may be newer.
    """

    model_config = ConfigDict(extra="forbid")


def example(**fields: Any) -> ConfigDict:
    """A model's configuration with the request that the API's documentation shows for it."""
    return ConfigDict(json_schema_extra={"examples": [fields]})
