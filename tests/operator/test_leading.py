"""Two operators at once: one works, the other waits, and takes over when the first is gone."""

from __future__ import annotations

import asyncio
from pathlib import Path

from shop.devkit.testing import wait_until
from shop.kit import log_level
from shop.operator.engine.leader import DURATION_S, POLL_S
from shop.operator.kube.client import Kube
from tests.operator.apiserver import ApiServer
from tests.operator.kept import Kept
from tests.operator.kubelet import Kubelet
from tests.operator.operators import Operator, Operators

TAKEOVER_LIMIT_S = DURATION_S + 2 * POLL_S + 3


async def test_one_leads_and_the_other_takes_over_when_it_is_killed(
    api: Kube, apiserver: ApiServer, namespace: str, kubelet: Kubelet, operators: Operators
) -> None:
    logins = [apiserver.kubeconfig_for(f"operator-{name}", groups=["system:masters"]) for name in ("a", "b")]
    first = operators.start(logins[0], namespace)
    await first.leading()
    second = operators.start(logins[1], namespace)
    shop = Kept(api, namespace)
    await shop.apply()
    await shop.ready()
    assert second.alive
    assert not await asyncio.to_thread(second.leads)
    assert apiserver.writes(user="operator-b") == []
    await shop.patch(services={"order": {"replicas": 2}})
    first.kill()
    await wait_until(lambda: asyncio.to_thread(second.leads), TAKEOVER_LIMIT_S, "the second leads")
    await shop.ready()
    assert apiserver.writes(user="operator-b")
    await second.stop()


async def test_a_stopped_leader_hands_over_at_once_and_ends_in_order(
    api: Kube, namespace: str, kubelet: Kubelet, operators: Operators, operator_login: Path
) -> None:
    first = operators.start(operator_login, namespace)
    await first.leading()
    await takes_a_log_level(first, "debug")
    second = operators.start(operator_login, namespace)
    shop = Kept(api, namespace)
    await shop.apply()
    await shop.ready()
    await first.stop()
    await wait_until(lambda: asyncio.to_thread(second.leads), TAKEOVER_LIMIT_S, "the second leads")
    assert "Traceback" not in first.log.read_text(encoding="utf-8")
    await second.stop()


async def takes_a_log_level(operator: Operator, level: str) -> None:
    """Return when it has logged the change that a signal asked for."""
    log_level.send(operator.pid, level)
    logged = f'"log_level":"{level}"'
    await wait_until(lambda: logged in operator.log.read_text(encoding="utf-8"), what=f"{logged} in {operator.log}")
