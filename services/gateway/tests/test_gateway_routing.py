from __future__ import annotations

from urllib.parse import unquote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shop.gateway.routing import METHODS, OWN_TARGET, Refusal, Target, route


def routed(method: str, raw_path: str) -> Target | Refusal:
    return route(method, unquote(raw_path), raw_path.encode("ascii"))


@pytest.mark.parametrize(
    ("path", "service"),
    [
        ("/api/v1/users", "user"),
        ("/api/v1/users/me/addresses", "user"),
        ("/api/v1/tokens/refresh", "user"),
        ("/api/v1/products", "product"),
        ("/api/v1/products/1", "product"),
        ("/api/v1/quotes", "pricing"),
        ("/api/v1/promotions/X", "pricing"),
        ("/api/v1/orders", "order"),
        ("/api/v1/payments", "payment"),
        ("/api/v1/notifications", "notification"),
        ("/.well-known/jwks.json", "user"),
        ("/mailbox", "notification"),
        ("/mailbox/7", "notification"),
        ("/", "storefront"),
        ("/products/1", "storefront"),
        ("/static/shop.css", "storefront"),
        ("/apiary", "storefront"),
        ("/caf%C3%A9", "storefront"),
    ],
)
def test_each_path_has_its_service(path: str, service: str) -> None:
    target = routed("GET", path)
    assert isinstance(target, Target)
    assert target.service == service


@pytest.mark.parametrize(
    "path", ["/health", "/health/live", "/health/ready", "/metrics", "/docs", "/redoc", "/openapi.json", "/%6detrics"]
)
def test_what_the_gateway_answers_itself(path: str) -> None:
    assert routed("GET", path) is OWN_TARGET


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/api/v1/unicorns", 404, "unknown_service"),
        ("GET", "/api/v1/", 404, "unknown_service"),
        ("GET", "/api/v1/internal/reservations", 404, "unknown_service"),
        ("GET", "/api/v1/Products", 404, "unknown_service"),
        ("POST", "/internal/reservations", 404, "not_found"),
        ("POST", "/%69nternal/reservations", 404, "not_found"),
        ("GET", "/internal", 404, "not_found"),
        ("GET", "/api", 404, "not_found"),
        ("GET", "/api/v2/products", 404, "not_found"),
        ("TRACE", "/api/v1/products", 405, "method_not_allowed"),
        ("PROPFIND", "/", 405, "method_not_allowed"),
        ("GET", "/api/v1/products/%2e%2e/internal", 400, "malformed_path"),
        ("GET", "/api/v1/products/../../internal", 400, "malformed_path"),
        ("GET", "/./internal", 400, "malformed_path"),
        ("GET", "//internal", 400, "malformed_path"),
        ("GET", "/api/v1//products", 400, "malformed_path"),
        ("GET", "/api/v1/products%2f1", 400, "malformed_path"),
        ("GET", "/api/v1/products%5C1", 400, "malformed_path"),
        ("GET", "/api/v1/products/%00", 400, "malformed_path"),
        ("GET", "/api/v1/products/%0d%0aX:1", 400, "malformed_path"),
        ("GET", "/api/v1/products/%ff", 400, "malformed_path"),
        ("GET", "/api/v1/products/%zz", 400, "malformed_path"),
        ("GET", "/api/v1/products/%", 400, "malformed_path"),
        ("GET", "/" + "x" * 3000, 414, "path_too_long"),
    ],
)
def test_paths_that_are_not_routed(method: str, path: str, status: int, code: str) -> None:
    refusal = routed(method, path)
    assert isinstance(refusal, Refusal)
    assert (refusal.status, refusal.code) == (status, code)


@pytest.mark.parametrize(
    ("method", "path", "needs_token"),
    [
        ("POST", "/api/v1/users", False),
        ("POST", "/api/v1/tokens", False),
        ("POST", "/api/v1/tokens/refresh", False),
        ("POST", "/api/v1/players/0197d0a0/scores", False),
        ("POST", "/api/v1/players/0197d0a0/achievements/", False),
        ("POST", "/api/v1/players/0197d0a0/0197d0a0/scores", True),
        ("PUT", "/api/v1/players/0197d0a0/scores", True),
        ("GET", "/api/v1/products", False),
        ("HEAD", "/api/v1/products/1", False),
        ("POST", "/api/v1/quotes", False),
        ("POST", "/api/v1/products", True),
        ("PATCH", "/api/v1/products/1", True),
        ("DELETE", "/api/v1/tokens", True),
        ("GET", "/api/v1/users", True),
        ("GET", "/api/v1/users/me", True),
        ("POST", "/api/v1/users/me/addresses", True),
        ("PUT", "/api/v1/promotions/X", True),
        ("GET", "/api/v1/promotions/X", True),
        ("POST", "/api/v1/orders", True),
        ("GET", "/api/v1/orders/1/events", True),
        ("GET", "/api/v1/payments", True),
        ("GET", "/api/v1/notifications", True),
        ("OPTIONS", "/api/v1/orders", False),
        ("GET", "/.well-known/jwks.json", False),
    ],
)
def test_who_needs_a_token(method: str, path: str, needs_token: bool) -> None:
    target = routed(method, path)
    assert isinstance(target, Target)
    assert target.needs_token is needs_token


@pytest.mark.parametrize(
    ("method", "path", "signs_in"),
    [
        ("POST", "/api/v1/users", True),
        ("POST", "/api/v1/tokens", True),
        ("POST", "/api/v1/tokens/", True),
        ("POST", "/sign-in", True),
        ("POST", "/sign-up", True),
        ("GET", "/sign-in", False),
        ("POST", "/api/v1/tokens/refresh", False),
        ("POST", "/api/v1/users/me/addresses", False),
        ("DELETE", "/api/v1/tokens", False),
    ],
)
def test_requests_that_cost_a_password_hash_are_limited_more_strictly(method: str, path: str, signs_in: bool) -> None:
    target = routed(method, path)
    assert isinstance(target, Target)
    assert target.signs_in is signs_in


@given(st.sampled_from(sorted(METHODS)), st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=60))
@example("GET", "api/v1/products/%C0%AE%C0%AE/")
def test_a_routed_path_has_only_one_reading(method: str, tail: str) -> None:
    """Whatever is routed on has one reading: no segment that a server behind could resolve or split otherwise."""
    target = routed(method, f"/{tail}")
    if isinstance(target, Refusal):
        assert 400 <= target.status < 500
        return
    segments = unquote(f"/{tail}").split("/")[1:]
    assert "internal" != segments[0]
    assert not {".", ".."} & set(segments)
    assert "" not in segments[:-1]
