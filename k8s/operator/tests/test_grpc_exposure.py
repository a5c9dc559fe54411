"""gRPC is reached from outside as the Shop itself is, on its host name."""

from __future__ import annotations

import pytest

from k8s.operator.tests import shop_specs
from k8s.operator.tests.shop_specs import EVERY_KIND, NAMESPACE, SEED, Spec, renderer
from k8s.operator.tests.test_values import GATEWAY, INGRESS
from shop.operator.engine.render.values import Values, values

MODULES = {"recommendations": True}
NAME = "bookshop-recommendation-grpc"
WAYS: list[tuple[Spec, Values]] = [
    (INGRESS, {"exposure": "Ingress", "host": "shop.example.com", "className": "nginx", "tlsSecretName": "tls"}),
    (
        GATEWAY,
        {
            "exposure": "HTTPRoute",
            "host": "a.example",
            "gatewayRef": {"name": "g", "namespace": "n", "sectionName": "web"},
        },
    ),
]


@pytest.mark.parametrize(("exposure", "expected"), WAYS)
def test_values_of_the_service_follow_the_exposure(exposure: Spec, expected: Values) -> None:
    shop = shop_specs.shop({"exposure": exposure, "modules": MODULES})
    found = values(shop, optional=EVERY_KIND)["services"]
    assert found["recommendation"]["grpc"] == expected
    assert "grpc" not in found["order"]


@pytest.mark.parametrize(("exposure", "kind"), [(INGRESS, "Ingress"), (GATEWAY, "HTTPRoute"), ({}, "")])
async def test_calls_are_led_to_the_service(exposure: Spec, kind: str) -> None:
    shop = shop_specs.shop({"exposure": exposure, "modules": MODULES})
    objects = await renderer().render(shop, NAMESPACE, "u", SEED, EVERY_KIND)
    ways = [obj for obj in objects if obj["metadata"]["name"] == NAME and obj["kind"] != "Service"]
    assert [obj["kind"] for obj in ways] == ([kind] if kind else [])
    assert all("/shop.recommendation.v1.Recommendations" in str(obj["spec"]) for obj in ways)
