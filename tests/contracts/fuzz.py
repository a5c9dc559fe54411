"""Requests made up from a service's OpenAPI document, right ones and wrong ones: all are answered as it says."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import Failure as CheckFailed
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

MAX_EXAMPLES = 10
"""Requests per operation and mode. There are about fifty operations and two modes: right and wrong requests."""
REQUEST_TIMEOUT_S = 15.0
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
LEFT_OUT = ("/health", "/metrics")
ENDLESS = "/events"
"""The event stream of an existing order does not end."""


def document(base_url: str) -> dict[str, Any] | None:
    """The service's OpenAPI document, None when it has none."""
    answer = requests.get(f"{base_url}/openapi.json", timeout=REQUEST_TIMEOUT_S)
    if answer.status_code == 404:
        return None
    answer.raise_for_status()
    found: dict[str, Any] = answer.json()
    return found


def operations(openapi: dict[str, Any], base_url: str) -> Iterator[tuple[str, Any]]:
    """Name and operation of everything in the document."""
    schema = schemathesis.openapi.from_dict(openapi)
    schema.config.update(base_url=base_url)
    for result in schema.get_all_operations():
        if not isinstance(result, Ok):
            raise result.err()
        operation = result.ok()
        if not operation.path.startswith(LEFT_OUT):
            yield f"{operation.method.upper()} {operation.path}", operation


def fuzz(operation: Any, headers: Mapping[str, str], mode: GenerationMode, known: Mapping[str, str]) -> int:
    """Send up to MAX_EXAMPLES requests, the same at each run; how many it were. Raises what a check found.

    Right requests get the ids of what is ``known`` to exist: made-up ones would never get beyond 404.
    """
    sent = 0

    @settings(
        max_examples=MAX_EXAMPLES,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def check(case: Case[Any]) -> None:
        nonlocal sent
        sent += 1
        if mode is GenerationMode.POSITIVE and not operation.path.endswith(ENDLESS):
            case.path_parameters = with_known(case.path_parameters, known)
            case.body = with_known(case.body, known)
        case.call_and_validate(headers=dict(headers), checks=CHECKS, timeout=REQUEST_TIMEOUT_S)

    # A request without any parameter cannot be wrong.
    with contextlib.suppress(Unsatisfiable):
        check()
    return sent


def with_known(value: Any, known: Mapping[str, str]) -> Any:
    """``value`` with every member that is called like something known replaced by it."""
    if isinstance(value, dict):
        return {name: known.get(name, with_known(member, known)) for name, member in value.items()}
    return [with_known(member, known) for member in value] if isinstance(value, list) else value


def failures(
    openapi: dict[str, Any],
    base_url: str,
    headers_of: Callable[[str], dict[str, str]],
    known: Mapping[str, str],
) -> list[str]:
    """What the checks found in every operation with right and with wrong requests, one line each."""
    found = []
    for name, operation in operations(openapi, base_url):
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            try:
                fuzz(operation, headers_of(operation.path), mode, known)
            except BaseExceptionGroup as group:
                found += [f"{name} ({mode.value}): {error}" for error in group.exceptions]
            except CheckFailed as error:
                found.append(f"{name} ({mode.value}): {error}")
    return found
