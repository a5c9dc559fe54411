"""shopctl log-level for a Shop in a cluster: a command in each container sends the signal to its main process."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from shop.devkit.testing import wait_until
from shop.kit import log_level
from shop.kit import logging as kit_logging
from shop.operator.cluster import pod_log_level
from shop.operator.cluster.session import Session
from shop.operator.errors import ShopctlError
from shop.operator.kube.kinds import POD
from tests.operator import node as nodes
from tests.operator import shopctl
from tests.operator.apiserver import ApiServer
from tests.operator.node import Node


@pytest.fixture
async def pod(session: Session, node: Node) -> AsyncIterator[str]:
    """A pod of order, whose main process is this one."""
    await shopctl.bare(session)
    await nodes.run_pod(session.kube, shopctl.pod(session.namespace, "bookshop-order-1", "order"), node)
    node.processes["bookshop-order-1"] = os.getpid()
    loop, before = asyncio.get_running_loop(), logging.getLogger().level
    kit_logging.obey_signals(loop)
    yield "bookshop-order-1"
    for number in log_level.SIGNALS.values():
        loop.remove_signal_handler(number)
    kit_logging.set_level(before)


async def test_the_pods_of_a_service_take_the_level(session: Session, pod: str, kubeconfig: Path) -> None:
    await session.kube.create(POD, shopctl.pod(session.namespace, "bookshop-order-2", "order"))
    root = logging.getLogger()
    assert await pod_log_level.choose(session, "bookshop", "order", "debug") == [pod]
    await wait_until(lambda: root.level == logging.DEBUG)
    options = ("-n", session.namespace, "--kubeconfig", kubeconfig)
    done = await shopctl.run("log-level", "bookshop", "order", "ERROR", *options)
    assert (done.code, done.err) == (0, "")
    assert done.out == f"log level error, until the process ends: {pod}\n"
    await wait_until(lambda: root.level == logging.ERROR)


async def test_a_pod_whose_process_takes_no_level_is_named_with_the_reason(
    session: Session, pod: str, node: Node
) -> None:
    with subprocess.Popen(["sleep", "60"]) as other:
        node.processes[pod] = other.pid
        with pytest.raises(ShopctlError, match=f"^{pod} keeps its log level: process {other.pid} does not take"):
            await pod_log_level.choose(session, "bookshop", "order", "debug")
        assert other.poll() is None
        other.kill()


async def test_without_the_right_to_execute_it_is_one_line(session: Session, pod: str, apiserver: ApiServer) -> None:
    read = {"": ["pods"], "shops.shopkeeper.dev": ["shops"]}
    await shopctl.allow(session.kube, session.namespace, "looker", read, ["get", "list"])
    login = apiserver.kubeconfig_for("looker")
    done = await shopctl.run("log-level", "bookshop", "order", "debug", "-n", session.namespace, "--kubeconfig", login)
    assert done.code == 1
    assert done.err.count("\n") == 1
    assert pod in done.err


async def test_a_store_and_an_unknown_service_are_refused_without_asking_the_cluster() -> None:
    done = await shopctl.run("log-level", "bookshop", "postgres", "debug", module="shop.operator.cli.kubectl_shop")
    assert (done.code, done.err.count("\n")) == (1, 1)
    assert done.err.startswith("kubectl shop: postgres is no service; there are achievement, delivery,")


async def test_a_service_without_running_pods_is_said_to_have_none(session: Session) -> None:
    await shopctl.bare(session)
    await session.kube.create(POD, shopctl.pod(session.namespace, "bookshop-order-2", "order"))
    with pytest.raises(ShopctlError, match="no pod of order in bookshop runs"):
        await pod_log_level.choose(session, "bookshop", "order", "debug")
