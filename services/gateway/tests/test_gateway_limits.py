from __future__ import annotations

from ipaddress import ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shop.gateway.limits import RateLimiter, client_address, client_key
from shop.gateway.settings import Settings

TRUSTED = (ip_network("10.0.0.0/8"), ip_network("::1/128"))


class ManualClock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_burst_is_allowed_and_then_the_rate() -> None:
    time = ManualClock()
    limiter = RateLimiter(per_second=2, burst=3, now=time)
    assert [limiter.take("a") for _ in range(3)] == [0.0] * 3
    assert limiter.take("a") == pytest.approx(0.5)
    assert limiter.take("b") == 0.0
    time.now = 0.5
    assert limiter.take("a") == 0.0
    assert limiter.take("a") > 0


@given(st.lists(st.floats(min_value=0, max_value=5), min_size=1, max_size=200))
def test_no_client_gets_more_than_burst_and_rate(pauses: list[float]) -> None:
    time = ManualClock()
    limiter = RateLimiter(per_second=3, burst=5, now=time)
    allowed = 0
    for pause in pauses:
        time.now += pause
        allowed += limiter.take("a") == 0.0
    assert allowed <= 5 + 3 * time.now + 1e-6


def test_the_table_is_bounded_and_drops_the_least_recently_seen() -> None:
    limiter = RateLimiter(per_second=0.001, burst=1, max_clients=2, now=ManualClock())
    for client in ("a", "b", "a", "c"):
        limiter.take(client)
    assert len(limiter) == 2
    assert limiter.take("a") > 0
    assert limiter.take("b") == 0.0


def test_zero_disables_limiting() -> None:
    limiter = RateLimiter(per_second=0, burst=1)
    assert [limiter.take("a") for _ in range(5)] == [0.0] * 5
    assert len(limiter) == 0


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "client"),
    [
        ("203.0.113.9", "", "203.0.113.9"),
        ("203.0.113.9", "198.51.100.1", "203.0.113.9"),
        ("10.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "6.6.6.6, 198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "6.6.6.6, 198.51.100.1, 10.2.2.2", "198.51.100.1"),
        ("10.0.0.1", "10.3.3.3, 10.2.2.2", "10.3.3.3"),
        ("10.0.0.1", "198.51.100.1, nonsense", "10.0.0.1"),
        ("10.0.0.1", "198.51.100.1, nonsense, 10.2.2.2", "10.2.2.2"),
        ("::1", "2001:db8::7", "2001:db8::7"),
        ("::ffff:10.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("::ffff:203.0.113.9", "198.51.100.1", "::ffff:203.0.113.9"),
        ("unknown", "198.51.100.1", "unknown"),
    ],
)
def test_only_trusted_proxies_are_used(peer: str, forwarded_for: str, client: str) -> None:
    assert client_address(peer, forwarded_for, TRUSTED) == client


@given(st.text(max_size=200))
def test_any_forwarded_for_is_parsed(text: str) -> None:
    assert client_address("10.0.0.1", text, TRUSTED)
    assert client_address("198.51.100.1", text, TRUSTED) == "198.51.100.1"


def test_addresses_of_one_ipv6_network_are_one_client() -> None:
    assert client_key("2001:db8:1:2::1") == client_key("2001:db8:1:2:ffff::9") == "2001:db8:1:2::/64"
    assert client_key("2001:db8:1:3::1") != client_key("2001:db8:1:2::1")
    assert client_key("::ffff:198.51.100.1") == client_key("198.51.100.1")
    assert client_key("unknown") == "unknown"


def test_lists_in_the_settings_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_TRUSTED_PROXIES", "10.0.0.0/8, 192.168.1.7")
    monkeypatch.setenv("SHOP_CORS_ORIGINS", "https://a.example/, https://b.example")
    monkeypatch.setenv("SHOP_ORDER_URL", "http://a:1/, http://b:2")
    settings = Settings()
    assert [str(network) for network in settings.trusted_proxies] == ["10.0.0.0/8", "192.168.1.7/32"]
    assert settings.cors_origins == ("https://a.example", "https://b.example")
    assert settings.urls("order") == ["http://a:1", "http://b:2"]
