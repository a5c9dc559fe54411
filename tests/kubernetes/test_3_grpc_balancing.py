"""A gRPC client that runs on finds pods that are added: calls spread over them within seconds, and none fails."""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter

from shop.devkit.testing import wait_until
from tests.kubernetes.conftest import Findings
from tests.kubernetes.kube import Release

NOUN = "recommendation"
PODS = 3
CALLING_S = 100
"""How long the client calls at most, within which the new pods start and get their share."""
STOP = "/tmp/stop-calling"
"""The client ends when this file exists."""
SPREAD_WITHIN_S = 60.0
SHARE = 20
"""Calls that each new pod must have answered."""
COUNTED = re.compile(r'^shop_grpc_requests_total\{code="OK",method="[^"]*/Recommend"\} ([\d.e+]+)$', re.MULTILINE)
METRICS = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:8000/metrics').read().decode())"
CLIENT = f"""
import asyncio, collections, contextlib, json, os
from shop.contracts.grpc import recommendation_v1_pb2 as messages, recommendation_v1_pb2_grpc as stubs
from shop.kit.grpc import GrpcClient

async def main():
    url, token = os.environ["SHOP_RECOMMENDATION_GRPC_URL"], os.environ["SHOP_INTERNAL_TOKEN"]
    client = GrpcClient("recommendation", url, [messages.DESCRIPTOR], token)
    recommend = stubs.RecommendationsStub(client.channel).Recommend
    loop, outcomes = asyncio.get_running_loop(), collections.Counter()
    end = loop.time() + {CALLING_S}
    with contextlib.suppress(FileNotFoundError):
        os.remove("{STOP}")
    while loop.time() < end and not os.path.exists("{STOP}"):
        try:
            await client.call(recommend, messages.RecommendRequest(max_results=3), timeout_s=2.0)
            outcomes["answered"] += 1
        except Exception as error:
            outcomes[repr(error)] += 1
        await asyncio.sleep(0.02)
    await client.close()
    print(json.dumps(outcomes))

asyncio.run(main())
"""


def answered(release: Release) -> dict[str, float]:
    """Calls of Recommend that each ready pod has answered."""
    found = {}
    for pod in release.pods(NOUN):
        name = pod["metadata"]["name"]
        count = COUNTED.search(release.kubectl("exec", name, "-c", NOUN, "--", "python", "-c", METRICS))
        found[name] = float(count[1]) if count else 0.0
    return found


async def test_calls_of_a_running_client_spread_over_new_pods(release: Release, findings: Findings) -> None:
    calling = asyncio.create_task(asyncio.to_thread(release.python, "storefront", CLIENT))
    await wait_until(lambda: _each_has(release, 1), SPREAD_WITHIN_S, "calls at the first pod")
    await asyncio.to_thread(release.upgrade, "--set", f"services.{NOUN}.replicas={PODS}")
    loop = asyncio.get_running_loop()
    ready_at = loop.time()
    await wait_until(lambda: _each_has(release, PODS), SPREAD_WITHIN_S, "calls at each pod")
    findings.note("seconds until gRPC calls reach each of two new pods", round(loop.time() - ready_at))
    await asyncio.to_thread(release.python, "storefront", f"open('{STOP}', 'w')")
    outcomes = Counter(json.loads(await calling))
    findings.note("gRPC calls while scaling from one to three", outcomes)
    assert outcomes.total() == outcomes["answered"] > PODS * SHARE
    await asyncio.to_thread(release.upgrade)


async def _each_has(release: Release, pods: int) -> bool:
    counts = await asyncio.to_thread(answered, release)
    return len(counts) == pods and min(counts.values()) >= SHARE
