"""Settings of the control room, from SHOP_* variables."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pydantic import Field

from shop.ops.services import ServiceUrls

MEBIBYTE = 1 << 20


class Settings(ServiceUrls):
    """Addresses of all services, what is kept of their traces, and where the local shop is, if this is one."""

    service: ClassVar[str] = "ops"

    max_body_bytes: int = Field(default=4 * MEBIBYTE, ge=1_024)
    """Of one export of spans; the SDK sends at most 512 spans at once."""
    session_secret: str = Field(default="", repr=False)
    traces_file: Path | None = None
    """Where spans are kept; in memory when it is empty."""
    traces_minutes: float = Field(default=30.0, gt=0, le=24 * 60)
    traces_bytes: int = Field(default=16 * MEBIBYTE, ge=MEBIBYTE, le=1 << 30)
    """What the spans may take; the oldest traces are deleted before that."""
    trace_link: str = ""
    """Address of a trace in Tempo or Jaeger, with {trace_id} in it; empty where there is none."""
    log_link: str = ""
    """Address of the log lines of a service in Loki or Kibana, with {service} in it; empty where there is none."""
    local_data_dir: Path | None = None
    """The data folder of the shop on this machine: its logs and the supervisor. Empty in a cluster."""

    def urls(self, noun: str) -> list[str]:
        """The base URLs of the instances of ``noun``; none of a service that this shop is without."""
        given: str = getattr(self, f"{noun}_url")
        return [part.strip().rstrip("/") for part in given.split(",") if part.strip()]
