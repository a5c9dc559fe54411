"""Requests made up from a service's OpenAPI document, right ones and wrong ones: all are answered as it says."""

from __future__ import annotations

import contextlib
import copy
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
MOST_ITEMS = 2
REQUEST_TIMEOUT_S = 15.0
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
LEFT_OUT = ("/health", "/metrics", "/api/v1/couriers/me/events", "/api/v1/achievements/events")
ENDLESS = "/events"
"""An event stream of something that exists does not end: only others are asked for, which those of the courier and the
player, who always exist, cannot be."""
LAST = ("/api/v1/couriers", "/api/v1/restaurants/{restaurant_id}/menu", "/internal/")
"""A courier who ends the shift loses the deliveries, a new menu has none of the old items, and a service that releases
an order loses it."""
Known = Mapping[str, Any]


def document(base_url: str) -> dict[str, Any] | None:
    """The service's OpenAPI document, None when it has none."""
    answer = requests.get(f"{base_url}/openapi.json", timeout=REQUEST_TIMEOUT_S)
    if answer.status_code == 404:
        return None
    answer.raise_for_status()
    found: dict[str, Any] = answer.json()
    return found


def operations(openapi: dict[str, Any], base_url: str) -> Iterator[tuple[str, Any]]:
    """Name and operation of everything in the document, those of LAST at the end."""
    schema = schemathesis.openapi.from_dict(with_short_arrays(openapi))
    schema.config.update(base_url=base_url)
    found = []
    for result in schema.get_all_operations():
        if not isinstance(result, Ok):
            raise result.err()
        found.append(result.ok())
    for operation in sorted(found, key=lambda one: one.path.startswith(LAST)):
        if not operation.path.startswith(LEFT_OUT):
            yield f"{operation.method.upper()} {operation.path}", operation


def with_short_arrays(openapi: dict[str, Any]) -> dict[str, Any]:
    """The document with at most MOST_ITEMS in each array of what only requests have; responses are checked as they are.

    To make up a menu with the usual five items in each of its four levels takes a second and finds nothing more.
    """
    shortened = copy.deepcopy(openapi)
    schemas = shortened.get("components", {}).get("schemas", {})
    bodies, responses = [], []
    for item in shortened["paths"].values():
        for operation in item.values():
            bodies.append(operation.get("requestBody", {}))
            responses.append(operation.get("responses", {}))
    of_requests = schemas_of(bodies, schemas) - schemas_of(responses, schemas)
    for found in arrays_in([bodies, [schemas[name] for name in of_requests]]):
        if "maxItems" in found:
            found["maxItems"] = min(found["maxItems"], max(MOST_ITEMS, found.get("minItems", 0)))
    return shortened


def schemas_of(document: Any, schemas: Mapping[str, Any]) -> set[str]:
    """The names of the schemas that the document refers to, directly or through others."""
    names, unread = set[str](), [document]
    while unread:
        references = {part["$ref"].rpartition("/")[2] for part in objects_in(unread.pop()) if "$ref" in part}
        unread += [schemas[name] for name in references - names]
        names |= references
    return names


def arrays_in(document: Any) -> Iterator[dict[str, Any]]:
    return (part for part in objects_in(document) if part.get("type") == "array")


def objects_in(document: Any) -> Iterator[dict[str, Any]]:
    """Every JSON object within the document."""
    if isinstance(document, dict):
        yield document
        for member in document.values():
            yield from objects_in(member)
    elif isinstance(document, list):
        for member in document:
            yield from objects_in(member)


def fuzz(
    operation: Any, headers: Mapping[str, str], mode: GenerationMode, known: Known, max_examples: int = MAX_EXAMPLES
) -> list[int]:
    """Send up to ``max_examples`` requests, the same at each run; the answers' statuses. Raises what a check found.

    Right requests get the ids of what is ``known`` to exist: made-up ones would never get beyond 404.
    """
    statuses: list[int] = []
    named = [parameter.name for parameter in operation.headers]

    @settings(
        max_examples=max_examples,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def check(case: Case[Any]) -> None:
        if mode is GenerationMode.POSITIVE and not operation.path.endswith(ENDLESS):
            case.path_parameters = with_known(case.path_parameters, known)
            case.body = with_known(case.body, known)
            case.headers.update({name: known[name] for name in named if name in known})
        answer = case.call_and_validate(headers=dict(headers), checks=CHECKS, timeout=REQUEST_TIMEOUT_S)
        statuses.append(answer.status_code)

    # A request without any parameter cannot be wrong.
    with contextlib.suppress(Unsatisfiable):
        check()
    return statuses


def with_known(value: Any, known: Known) -> Any:
    """``value`` with every member that is called like something known replaced by it."""
    if isinstance(value, dict):
        return {name: known.get(name, with_known(member, known)) for name, member in value.items()}
    return [with_known(member, known) for member in value] if isinstance(value, list) else value


def failures(
    openapi: dict[str, Any],
    base_url: str,
    headers_of: Callable[[str], dict[str, str]],
    known: Known | Callable[[str], Known],
    *,
    must_succeed: bool = False,
    max_examples: int = MAX_EXAMPLES,
) -> list[str]:
    """What the checks found in every operation with right and with wrong requests, one line each.

    What is ``known`` may depend on the path. ``must_succeed``: of the right requests of each operation one is
    answered with 2xx, apart from those for event streams.
    """
    found = []
    for name, operation in operations(openapi, base_url):
        of_path = known(operation.path) if callable(known) else known
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            try:
                statuses = fuzz(operation, headers_of(operation.path), mode, of_path, max_examples)
                if must_succeed and mode is GenerationMode.POSITIVE and not operation.path.endswith(ENDLESS):
                    found += [] if any(map(_is_success, statuses)) else [f"{name}: only {sorted(set(statuses))}"]
            except BaseExceptionGroup as group:
                found += [f"{name} ({mode.value}): {error}" for error in group.exceptions]
            except CheckFailed as error:
                found.append(f"{name} ({mode.value}): {error}")
    return found


def _is_success(status: int) -> bool:
    return 200 <= status < 300
