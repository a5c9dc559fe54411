"""A full volume of NATS: the liveness probe finds a stream that takes no more events, and a restart helps."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Iterator

import nats
import pytest
import yaml
from nats.js import JetStreamContext

from shop.devkit.testing import wait_until
from shop.kit.bus import BROKER_ERRORS
from tests.kubernetes import images
from tests.kubernetes.conftest import Findings, fresh_namespace
from tests.kubernetes.kube import Json, Release, is_ready

NAMESPACE = "shop-e2e-volume"
POD = "nats-0"
FILLER = "filler"
PASSWORD = "of-this-test-alone"
VOLUME = "48Mi"
PROBE_PERIOD_S = 1
"""The chart's 15 s, 8 times, would be two minutes of waiting."""
READY_WITHIN_S = 120.0
STREAM = "events"
EVENT = bytes(100_000)
ACK_WITHIN_S = 2.0
MAX_EVENTS = 1_000
"""More than the volume holds."""
FILL = """
with open("/data/ballast", "ab", buffering=0) as file:
    try:
        while True:
            file.write(bytes(4096))
    except OSError:
        pass
"""
FREE = "import os; os.unlink('/data/ballast')"


def small(objects: list[Json]) -> list[Json]:
    """The chart's broker with a small volume in memory, a quick probe, and a container that fills the volume."""
    [stateful_set] = [one for one in objects if one["kind"] == "StatefulSet"]
    spec = stateful_set["spec"]
    del spec["volumeClaimTemplates"]
    pod = spec["template"]["spec"]
    pod["volumes"].append({"name": "data", "emptyDir": {"medium": "Memory", "sizeLimit": VOLUME}})
    [broker] = pod["containers"]
    broker["livenessProbe"]["periodSeconds"] = PROBE_PERIOD_S
    filler = {
        "name": FILLER,
        "image": f"{images.REGISTRY}/shop-gateway:{images.version()}",
        "imagePullPolicy": "IfNotPresent",
        "command": ["python", "-c", "import signal; signal.pause()"],
        "securityContext": broker["securityContext"],
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    }
    pod["containers"].append(filler)
    pod["terminationGracePeriodSeconds"] = 1
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "nats"}, "stringData": {"password": PASSWORD}}
    return [secret, *objects]


@pytest.fixture(scope="module")
def broker() -> Iterator[Release]:
    with fresh_namespace(NAMESPACE) as name:
        release = Release("shop", name)
        template = "templates/nats.yaml"
        rendered = release.helm("template", release.name, *release.values(), "--show-only", template)
        objects = small([one for one in yaml.safe_load_all(rendered) if one])
        release.kubectl("apply", "-f", "-", stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}))
        yield release


@contextlib.asynccontextmanager
async def jetstream(broker: Release) -> AsyncIterator[JetStreamContext]:
    async with broker.forwarded(f"pod/{POD}", 4222) as port:
        client = await nats.connect(f"nats://shop:{PASSWORD}@127.0.0.1:{port}", allow_reconnect=False)
        yield client.jetstream(timeout=ACK_WITHIN_S)
        await client.close()


async def in_pod(broker: Release, code: str) -> None:
    await asyncio.to_thread(broker.kubectl, "exec", POD, "-c", FILLER, "--", "python", "-c", code)


async def test_a_broker_whose_volume_was_full_recovers(broker: Release, findings: Findings) -> None:
    await wait_until(lambda: starts(broker) >= 0, READY_WITHIN_S, "the broker")
    async with jetstream(broker) as stream:
        await stream.add_stream(name=STREAM, subjects=[STREAM])
        await in_pod(broker, FILL)
        taken = await published(stream)
        await in_pod(broker, FREE)
        freed = time.monotonic()
        with pytest.raises(BROKER_ERRORS):  # space alone does not help
            await stream.publish(STREAM, EVENT)
    await wait_until(lambda: starts(broker) > 0, READY_WITHIN_S, "a restart")
    findings.note("seconds until a broker with space again was ready", round(time.monotonic() - freed, 1))
    async with jetstream(broker) as stream:
        await stream.publish(STREAM, EVENT)
        assert (await stream.stream_info(STREAM)).state.messages == taken + 1
    said = [event["message"] for event in broker.items("events") if event["involvedObject"]["name"] == POD]
    assert any("Liveness probe failed" in message for message in said)


async def published(stream: JetStreamContext) -> int:
    """How many events the stream takes before it takes no more."""
    for taken in range(MAX_EVENTS):
        try:
            await stream.publish(STREAM, EVENT)
        except BROKER_ERRORS:
            return taken
    raise AssertionError(f"{MAX_EVENTS} events fit into a full volume")


def starts(broker: Release) -> int:
    """How often the broker was restarted, -1 while it is not ready."""
    [pod] = broker.pods("nats") or [{"status": {}}]
    restarts: dict[str, int] = {one["name"]: one["restartCount"] for one in pod["status"].get("containerStatuses", ())}
    return restarts["nats"] if is_ready(pod) else -1
