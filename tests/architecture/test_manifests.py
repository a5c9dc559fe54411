"""What a service's manifest says is what its code does."""

from __future__ import annotations

import importlib
from types import SimpleNamespace
from typing import Any

import pytest

from shop.devkit import manifest
from shop.kit.clock import Clock
from tests.architecture.source import ROOT, package_folder, service_nouns

MANIFESTS = manifest.read(ROOT)
NO_SERVICES = frozenset({"database", "instance", "nats", "valkey", "jwks", "public", "smtp", "sms_webhook"})
"""Settings called <name>_url that are no other service's address."""


def test_every_service_has_a_manifest() -> None:
    assert set(MANIFESTS) == set(service_nouns())


def fields(noun: str) -> set[str]:
    return set(importlib.import_module(f"shop.{noun}.settings").Settings.model_fields)


@pytest.mark.parametrize("noun", MANIFESTS)
def test_calls_are_the_addresses_that_it_reads(noun: str) -> None:
    addresses = {name.removesuffix("_url") for name in fields(noun) if name.endswith("_url")} - NO_SERVICES
    read = {name.removesuffix("_grpc") for name in addresses}
    assert read == set(manifest.called(MANIFESTS, noun))


@pytest.mark.parametrize("noun", MANIFESTS)
def test_stores_are_those_that_it_uses(noun: str) -> None:
    says, sources = MANIFESTS[noun], [path.read_text(encoding="utf-8") for path in package_folder(noun).rglob("*.py")]
    assert says.database == (package_folder(noun) / "migrations").is_dir()
    assert says.cache == ("valkey_url" in fields(noun))
    assert says.store_settings == ("store" in fields(noun))
    if not says.broker:
        assert not [text for text in sources if "Consumer(" in text or "context.outbox" in text]


@pytest.mark.parametrize("noun", MANIFESTS)
def test_events_that_it_consumes_are_those_of_its_consumers(noun: str) -> None:
    handled: set[str] = set()
    if (package_folder(noun) / "consumers.py").exists():
        declared = importlib.import_module(f"shop.{noun}.consumers").consumers(service_of(noun))
        handled = {event.TYPE for consumer in declared for event in consumer.types}
    assert handled == set(MANIFESTS[noun].consumes)


def service_of(noun: str) -> Any:
    """What the service's consumers ask of its service object, in a shop with every module."""
    service = SimpleNamespace(clock=Clock(), food=True, arcade=True, texts=True, owner_phone="", purchases=None)
    service.food_events = SimpleNamespace(take_tickets=None, take_deliveries=None, committed=None)
    service.direct = service.wake_senders = None
    if noun == "achievement":
        made = importlib.import_module("shop.achievement.service").AchievementService
        unlocking = SimpleNamespace(take=None)
        return made(unlocking, None, None, None, rules={}, currency="EUR", clock=Clock(), committed=None)
    if noun == "leaderboard":
        made = importlib.import_module("shop.leaderboard.recorder").Recorder
        service.recorder = made({}, None, None, None, None, None, Clock())
    return service


@pytest.mark.parametrize("noun", MANIFESTS)
def test_variables_that_it_is_given_are_its_settings(noun: str) -> None:
    given = {*MANIFESTS[noun].config, *MANIFESTS[noun].secrets}
    assert {name.removeprefix("SHOP_").lower() for name in given} <= fields(noun)


@pytest.mark.parametrize("noun", MANIFESTS)
def test_paths_of_the_manifest_are_routes(noun: str) -> None:
    says = MANIFESTS[noun]
    if not (says.api or says.prefixes):
        pytest.skip("it has no API")
    routes = importlib.import_module(f"shop.{noun}.main").app.openapi()["paths"]
    shapes = {"/".join("{}" if part.startswith("{") else part for part in path.split("/")) for path in routes}
    named = {*says.public_posts, *says.sign_in, *says.idempotency_keys, *says.event_streams}
    assert {"/".join("{}" if part.startswith("{") else part for part in path.split("/")) for path in named} <= shapes
    assert {path.split("/")[3] for path in routes if path.startswith(manifest.API_PREFIX)} == set(says.api)
