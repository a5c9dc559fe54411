"""The way in from outside for gRPC: an Ingress or a route that leads to the port grpc, and a policy that lets it in."""

from __future__ import annotations

import pytest

from tests.charts.rendering import Object, Refused, kind, named, template
from tests.charts.test_chart_objects import validator

SERVED = "extraPorts[0].name=grpc,extraPorts[0].port=50051,grpc.services={shop.a.v1.One,shop.a.v1.Two}"
PATHS = ["/shop.a.v1.One", "/shop.a.v1.Two"]
NGINX = "nginx.ingress.kubernetes.io/backend-protocol"


def rendered(*values: str) -> tuple[Object, ...]:
    objects = template("service", "--set", ",".join((SERVED, *values)))
    for one in objects:
        validator(one["kind"], one["apiVersion"]).validate(one)
    return objects


def grpc_port(objects: tuple[Object, ...]) -> Object:
    ports = named(objects, "Service", "service")["spec"]["ports"]
    found: Object = next(port for port in ports if port["name"] == "grpc")
    return found


def test_nothing_leads_to_it_by_default() -> None:
    objects = rendered()
    assert not [one for one in objects if one["kind"] in {"Ingress", "HTTPRoute", "GRPCRoute"}]
    assert "ingress" not in named(objects, "NetworkPolicy", "service")["spec"]


def test_ingress_leads_calls_to_the_port_by_http_2() -> None:
    objects = rendered("grpc.exposure=Ingress,grpc.host=shop.example.com,grpc.className=nginx,grpc.tlsSecretName=tls")
    ingress = named(objects, "Ingress", "service-grpc")
    assert ingress["metadata"]["annotations"] == {NGINX: "GRPC"}
    assert (ingress["spec"]["ingressClassName"], ingress["spec"]["tls"][0]["secretName"]) == ("nginx", "tls")
    (rule,) = ingress["spec"]["rules"]
    assert (rule["host"], [path["path"] for path in rule["http"]["paths"]]) == ("shop.example.com", PATHS)
    assert [path["backend"]["service"] for path in rule["http"]["paths"]] == [
        {"name": "service", "port": {"name": "grpc"}}
    ] * 2


def test_annotations_are_those_of_the_controller_in_use() -> None:
    objects = rendered("grpc.exposure=Ingress,grpc.host=a.example,grpc.annotations.team=a")
    assert named(objects, "Ingress", "service-grpc")["metadata"]["annotations"] == {NGINX: "GRPC", "team": "a"}


def test_routes_lead_calls_to_the_port() -> None:
    for exposure, matches in (
        ("HTTPRoute", [{"path": {"type": "PathPrefix", "value": path}} for path in PATHS]),
        ("GRPCRoute", [{"method": {"service": path[1:]}} for path in PATHS]),
    ):
        objects = rendered(f"grpc.exposure={exposure},grpc.host=a.example,grpc.gatewayRef.name=public")
        (rule,) = named(objects, exposure, "service-grpc")["spec"]["rules"]
        assert (rule["matches"], rule["backendRefs"]) == (matches, [{"name": "service", "port": 50051}])
        assert (grpc_port(objects)["port"], grpc_port(objects)["appProtocol"]) == (50051, "kubernetes.io/h2c")


@pytest.mark.parametrize("exposure", ["Ingress", "HTTPRoute", "GRPCRoute"])
def test_network_policy_lets_the_controller_in_on_this_port_alone(exposure: str) -> None:
    objects = rendered(f"grpc.exposure={exposure},grpc.host=a.example,grpc.gatewayRef.name=public")
    rules = named(objects, "NetworkPolicy", "service")["spec"]["ingress"]
    assert [rule["ports"] for rule in rules if "from" not in rule] == [[{"port": "grpc", "protocol": "TCP"}]]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ("grpc.exposure=Ingress,grpc.host=a.example", "needs grpc.services, and a port named grpc in extraPorts"),
        (f"{SERVED},grpc.exposure=Ingress", "grpc.exposure Ingress needs grpc.host"),
        (f"{SERVED},grpc.exposure=HTTPRoute", "grpc.exposure HTTPRoute needs grpc.gatewayRef.name, the Gateway"),
        (f"{SERVED},grpc.exposure=GRPCRoute", "grpc.exposure GRPCRoute needs grpc.gatewayRef.name, the Gateway"),
        (f"{SERVED},grpc.exposure=Route", "value must be one of 'None', 'Ingress', 'HTTPRoute', 'GRPCRoute'"),
    ],
)
def test_incomplete_values_are_refused(values: str, message: str) -> None:
    with pytest.raises(Refused) as refused:
        template("service", "--set", values)
    assert message in str(refused.value)


def test_values_of_the_shop_name_the_methods_of_the_proto_files() -> None:
    given = "services.recommendation.grpc.exposure=Ingress,services.recommendation.grpc.host=a.example"
    objects = template("shop", "--set", f"services.recommendation.enabled=true,{given}")
    (path,) = named(objects, "Ingress", "recommendation-grpc")["spec"]["rules"][0]["http"]["paths"]
    assert path["path"] == "/shop.recommendation.v1.Recommendations"
    assert len(kind(objects, "Ingress")) == 1
