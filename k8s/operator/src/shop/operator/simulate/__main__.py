"""The fleet as a program of its own, for a Job in the shop's cluster: `python -m shop.operator.simulate --help`.

The administrator's password comes from the variable SHOP_ADMIN_PASSWORD or a file, never from an argument.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from pathlib import Path

from shop.operator.simulate.fleet import (
    MAX_COURIERS,
    MAX_MINUTES,
    MAX_ORDERS_PER_MINUTE,
    MAX_TIME_FACTOR,
    Plan,
    fitting_time_factor,
    reason,
    simulate,
)
from shop.operator.simulate.shop_api import RefusedError

PASSWORD_VARIABLE = "SHOP_ADMIN_PASSWORD"


def plan(arguments: list[str]) -> Plan:
    """SystemExit with a message for arguments that are wrong."""
    parser = argparse.ArgumentParser(prog="python -m shop.operator.simulate", description="Couriers and customers.")
    parser.add_argument("--url", required=True, help="the shop's gateway, such as http://shop-gateway:8000")
    parser.add_argument("--admin-email", default="admin@shop.local")
    parser.add_argument("--admin-password-file", type=Path, help=f"default: the variable {PASSWORD_VARIABLE}")
    parser.add_argument("--couriers", type=int, default=20)
    parser.add_argument("--orders-per-minute", type=float, default=30.0)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--time-factor", type=float, help="default: as fast as the couriers have to be")
    parser.add_argument("--country", default="", help="of the customers' addresses; default: the restaurant's")
    parser.add_argument("--drain-minutes", type=float, default=30.0)
    given = parser.parse_args(arguments)
    if given.time_factor is None:
        given.time_factor = fitting_time_factor(max(1, given.couriers), given.orders_per_minute)
    limits = (
        ("--couriers", given.couriers, 1, MAX_COURIERS),
        ("--orders-per-minute", given.orders_per_minute, 0.1, MAX_ORDERS_PER_MINUTE),
        ("--minutes", given.minutes, 0.1, MAX_MINUTES),
        ("--time-factor", given.time_factor, 1, MAX_TIME_FACTOR),
        ("--drain-minutes", given.drain_minutes, 0, MAX_MINUTES),
    )
    for name, value, least, most in limits:
        if not least <= value <= most:
            parser.error(f"{name}: between {least:g} and {most:g}")
    file = given.admin_password_file
    password = file.read_text(encoding="utf-8").strip() if file else os.environ.get(PASSWORD_VARIABLE, "")
    if not password:
        parser.error(f"the administrator's password is missing: {PASSWORD_VARIABLE} or --admin-password-file")
    return Plan(
        url=given.url,
        admin_email=given.admin_email,
        admin_password=password,
        couriers=given.couriers,
        orders_per_minute=given.orders_per_minute,
        minutes=given.minutes,
        seed=given.seed,
        time_factor=given.time_factor,
        country=given.country,
        drain_s=60 * given.drain_minutes,
    )


def main() -> int:
    """0 when the simulation ran; its summary is one line of JSON on stdout."""
    chosen = plan(sys.argv[1:])
    try:
        summary = asyncio.run(simulate(chosen, lambda line: print(line, file=sys.stderr, flush=True)))
    except RefusedError as error:
        print(reason(error, chosen.url), file=sys.stderr)
        return 1
    print(json.dumps(summary), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
