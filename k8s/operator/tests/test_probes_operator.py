"""The operator's port serves liveness, readiness and metrics."""

from __future__ import annotations

import socket

import aiohttp

from shop.devkit.processes import free_port
from shop.operator.engine.metrics import LEADER
from shop.operator.engine.probe_server import probe_server


async def asked(port: int, path: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}{path}") as answer:
        return answer.status, await answer.text()


async def test_a_failing_check_is_503_and_says_why() -> None:
    errors = {"live": "", "ready": "the watch of Shops has not begun"}
    checks = {"live": lambda: errors["live"], "ready": lambda: errors["ready"]}
    async with probe_server(0, live=checks["live"], ready=checks["ready"], host="127.0.0.1") as port:
        assert (await asked(port, "/health/live"))[0] == 200
        status, body = await asked(port, "/health/ready")
        assert status == 503
        assert "the watch of Shops has not begun" in body
        errors.update(live="the watch of Deployments has been idle for 120 s", ready="")
        assert (await asked(port, "/health/live"))[0] == 503
        assert (await asked(port, "/health/ready"))[0] == 200


async def test_metrics_are_served_as_prometheus_reads_them() -> None:
    LEADER.set(0)
    async with probe_server(0, live=str, ready=str, host="127.0.0.1") as port:
        status, body = await asked(port, "/metrics")
    assert status == 200
    assert "# TYPE shop_operator_leader gauge\nshop_operator_leader 0.0" in body


async def test_the_port_is_free_again_afterwards() -> None:
    async with probe_server(0, live=str, ready=str, host="127.0.0.1") as port:
        assert port > 0
    async with probe_server(port, live=str, ready=str, host="127.0.0.1") as again:
        assert again == port


async def test_probes_are_answered_on_ipv6_and_ipv4() -> None:
    port = free_port()
    hosts = ("127.0.0.1", "[::1]") if socket.has_dualstack_ipv6() else ("127.0.0.1",)
    async with probe_server(port, live=str, ready=str), aiohttp.ClientSession() as session:
        for host in hosts:
            async with session.get(f"http://{host}:{port}/health/live") as answer:
                assert answer.status == 200
