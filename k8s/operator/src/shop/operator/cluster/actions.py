"""Each command of a Shop in a cluster: run it, print the result, exit with its code."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import typer

from shop.operator import console
from shop.operator.audit.model import Options
from shop.operator.cluster import session
from shop.operator.cluster.cluster_options import ClusterOptions
from shop.operator.cluster.session import Session


def plan(where: ClusterOptions, file: Path, as_json: bool) -> None:
    """Print the plan and end with its code."""
    from shop.operator.cluster import planner

    found = session.run(where, lambda it: planner.make(it, file))
    console.write(_json(found.document()) if as_json else found.text())
    raise typer.Exit(found.code)


def status(where: ClusterOptions, name: str, as_json: bool) -> None:
    """Print the status of the Shop; code 1 when it is not Ready."""
    from shop.operator.cluster import overview_reader

    found = session.run(where, lambda it: overview_reader.overview(it, name))
    console.write(_json(found.document()) if as_json else found.text(datetime.now(UTC)))
    if not found.ready:
        raise typer.Exit(1)


def audit(where: ClusterOptions, name: str, options: Options, wait_s: float, as_json: bool) -> None:
    """Print what the oracles found; code 1 when one fails."""
    from shop.operator.cluster import audit_endpoints
    from shop.operator.local.audit_target import report

    results, late = session.run(where, lambda it: audit_endpoints.audit(it, name, options, wait_s))
    if not report(results, late, wait_s, as_json):
        raise typer.Exit(1)


def backup(where: ClusterOptions, name: str, timeout_s: float) -> None:
    """Make a backup and print where it is."""
    from shop.operator.cluster import backup_job

    console.write(session.run(where, lambda it: backup_job.back_up(it, name, timeout_s)))


def logs(where: ClusterOptions, name: str, service: str | None, lines: int, follow: bool) -> None:
    """Print logs; with `follow` also new lines."""
    from shop.operator.cluster import pod_logs

    async def work(it: Session) -> None:
        await (pod_logs.follow if follow else pod_logs.show)(it, name, service, lines)

    session.run(where, work)


def suspend(where: ClusterOptions, name: str, suspended: bool, timeout_s: float) -> None:
    """Set spec.suspend and print the result."""
    from shop.operator.cluster import operator_requests

    console.write(
        session.run(
            where, lambda it: operator_requests.set_suspended(it, name, suspended=suspended, timeout_s=timeout_s)
        )
    )


def retry(where: ClusterOptions, name: str, timeout_s: float) -> None:
    """Request a retry and print the result."""
    from shop.operator.cluster import operator_requests

    console.write(session.run(where, lambda it: operator_requests.retry(it, name, timeout_s=timeout_s)))


def _json(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=1, ensure_ascii=False)
