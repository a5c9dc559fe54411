"""Request bodies of public endpoints."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError, WrapValidator


class RequestBody(BaseModel):
    """A field that the endpoint does not know is refused, so that a misspelled one is never ignored.

    Bodies between services are read leniently instead: during an upgrade the caller may be newer.
    """

    model_config = ConfigDict(extra="forbid")


def example(**fields: Any) -> ConfigDict:
    """A model's configuration with the request that the API's documentation shows for it."""
    return ConfigDict(json_schema_extra={"examples": [fields]})


def by_kind(**models: type[RequestBody]) -> WrapValidator:
    """For a union of bodies: the member ``kind`` names the model, the first one when it is missing.

    Unlike in a tagged union of pydantic the path of an invalid field does not begin with its kind, and a wrong kind is
    an error of the field ``kind``.
    """
    default = next(iter(models))

    def read(body: Any, _: Any) -> RequestBody:
        kind = body.get("kind", default) if isinstance(body, dict) else default
        if not isinstance(kind, str) or kind not in models:
            expected = " or ".join(repr(name) for name in models)
            wrong: Any = {"type": "literal_error", "loc": ("kind",), "input": kind, "ctx": {"expected": expected}}
            raise ValidationError.from_exception_data("kind", [wrong])
        return models[kind].model_validate(body)

    return WrapValidator(read)
