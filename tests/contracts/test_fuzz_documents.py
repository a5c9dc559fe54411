"""The document that requests are made up from: short arrays in what is sent, and answers as they are documented."""

from __future__ import annotations

from typing import Any

from tests.contracts.fuzz import MOST_ITEMS, arrays_in, with_short_arrays


def array(items: dict[str, Any], **limits: int) -> dict[str, Any]:
    return {"type": "array", "items": items, **limits}


def reference(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def document(**schemas: Any) -> dict[str, Any]:
    """One operation: it is sent a `Sent` and answers with an `Answer`."""
    content = {name: {"content": {"application/json": {"schema": reference(name)}}} for name in ("Sent", "Answer")}
    operation = {"requestBody": content["Sent"], "responses": {"200": content["Answer"]}}
    return {"paths": {"/things": {"post": operation}}, "components": {"schemas": schemas}}


def limits(schema: dict[str, Any]) -> list[int | None]:
    return [found.get("maxItems") for found in arrays_in(schema)]


def test_arrays_of_requests_become_short_on_every_level() -> None:
    sent = array(array(reference("Inner"), maxItems=100), maxItems=30)
    given = document(Sent=sent, Inner=array({}, maxItems=20), Answer={})
    schemas = with_short_arrays(given)["components"]["schemas"]
    assert limits(schemas["Sent"]) == [MOST_ITEMS, MOST_ITEMS]
    assert limits(schemas["Inner"]) == [MOST_ITEMS]
    assert limits(given["components"]["schemas"]["Sent"]) == [30, 100]


def test_arrays_of_answers_keep_their_limits() -> None:
    """Else an answer with more items would not be as documented."""
    given = document(Sent=reference("Both"), Answer=reference("Both"), Both=array({}, maxItems=50))
    assert with_short_arrays(given) == given


def test_arrays_without_a_limit_or_with_a_larger_minimum_stay_possible() -> None:
    given = document(Sent={"properties": {"a": array({}), "b": array({}, minItems=5, maxItems=9)}}, Answer={})
    assert limits(with_short_arrays(given)["components"]["schemas"]["Sent"]) == [None, 5]
