"""Positions and distances of a town that food is delivered in."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field


class Position(BaseModel):
    """WGS 84, in degrees."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    lat: Annotated[float, Field(ge=-90, le=90, allow_inf_nan=False)]
    lon: Annotated[float, Field(ge=-180, le=180, allow_inf_nan=False)]
