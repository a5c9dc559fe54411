"""Run a service: ``python -m shop.kit.serve order --port 8101``.

One process is one instance: scaling is the orchestrator's work, and metrics stay simple.
"""

from __future__ import annotations

import argparse
import os
import sys

import uvicorn
from pydantic import ValidationError

from shop.kit import logging as json_logging
from shop.kit.protocol import LimitedProtocol

KEEP_ALIVE_S = 75
BACKLOG = 2_048


def main() -> None:
    """Serve ``shop.<noun>.main:app`` until SIGTERM, then finish what is in flight."""
    parser = argparse.ArgumentParser(prog="shop.kit.serve", description=main.__doc__)
    noun = os.environ.get("SHOP_SERVICE")
    parser.add_argument("service", nargs="?" if noun else None, default=noun, help="its noun, by default $SHOP_SERVICE")
    parser.add_argument("--host", default="0.0.0.0")
    parser.add_argument("--port", type=int, default=8000)
    arguments = parser.parse_args()
    try:
        module = __import__(f"shop.{arguments.service}.main", fromlist=["app"])
        settings = __import__(f"shop.{arguments.service}.settings", fromlist=["Settings"]).Settings()
    except ValidationError as error:
        problems = "; ".join(f"SHOP_{'_'.join(map(str, e['loc'])).upper()}: {e['msg']}" for e in error.errors())
        sys.exit(f"{arguments.service}: wrong settings: {problems}")
    except ModuleNotFoundError as error:
        sys.exit(f"{arguments.service}: no such service ({error})")
    json_logging.configure(arguments.service, settings.log_level)
    uvicorn.run(
        module.app,
        host=arguments.host,
        port=arguments.port,
        loop="uvloop",
        http=LimitedProtocol,
        ws="none",
        lifespan="on",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=max(1, round(settings.drain_seconds)),
    )


if __name__ == "__main__":
    main()
