"""What `shopctl audit --json` found, as a failed test shows it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MAX_VIOLATIONS = 10


def assert_holds(report: Mapping[str, Any]) -> None:
    """Every oracle holds, nothing is late, and there was something to check; AssertionError names what is not so."""
    problems = [f"late, not broken: {what}" for what in report["late"]]
    problems += [line for oracle in report["oracles"] if not oracle["ok"] for line in broken(oracle)]
    if not any(oracle["checked"] for oracle in report["oracles"]):
        problems.append("the audit had nothing to check")
    if problems or not report["ok"]:
        raise AssertionError("\n".join(["the audit is not clean", *problems]))


def broken(oracle: Mapping[str, Any]) -> list[str]:
    """Number and name of an oracle, and its first violations with what is wrong."""
    details = oracle["details"]
    shown = [f"    {key} {details[key]}" for key in oracle["violations"][:MAX_VIOLATIONS]]
    rest = len(oracle["violations"]) - len(shown)
    return [f"oracle {oracle['number']} ({oracle['name']}):", *shown, *([f"    and {rest} more"] if rest > 0 else [])]
