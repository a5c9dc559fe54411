"""shopctl against a real API server: status, suspend, backup, logs, audit, and how it fails."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest

from shop.devkit.processes import free_port
from shop.devkit.testing import wait_until
from shop.operator.cluster import backup_job, operator_requests, overview_reader, pod_logs
from shop.operator.cluster.session import Session
from shop.operator.errors import ShopctlError
from shop.operator.kube.client import Kube
from shop.operator.kube.kinds import CRON_JOB, EVENT, JOB, POD, SHOP
from shop.operator.kube.objects import SHOP_LABEL, Object
from tests.operator import node as nodes
from tests.operator import shopctl
from tests.operator.apiserver import ApiServer, program
from tests.operator.node import Node

WAIT_S = 20.0


@pytest.fixture
async def shop(session: Session) -> Object:
    """A Shop without objects."""
    return await shopctl.bare(session)


async def set_status(session: Session, **status: Any) -> None:
    await session.kube.patch(SHOP, session.namespace, "bookshop", {"status": status}, subresource="status")


# status


async def test_status_reports_conditions_pods_and_events(session: Session, shop: Object, node: Node) -> None:
    await set_status(
        session,
        observedGeneration=1,
        url="http://bookshop-gateway",
        conditions=[shopctl.condition("Ready", "False", 1, "Installing", "Waiting for Deployment bookshop-order.")],
        services=[{"name": "order", "ready": 0, "desired": 1, "image": "x"}],
    )
    broken = await nodes.run_pod(
        session.kube, shopctl.pod(session.namespace, "bookshop-order-1", "order"), node, ready=False
    )
    waiting = {"state": {"waiting": {"reason": "CrashLoopBackOff"}}}
    statuses = [{**broken["status"]["containerStatuses"][0], **waiting, "restartCount": 3}]
    await session.kube.patch(
        POD, session.namespace, "bookshop-order-1", {"status": {"containerStatuses": statuses}}, subresource="status"
    )
    await tell(session, shop, "Revision 1 is on its way.")
    await tell(session, {**shop, "metadata": {**shop["metadata"], "uid": "another"}}, "Of another Shop.")
    found = (await overview_reader.overview(session, "bookshop")).document()
    assert (found["ready"], found["url"]) == (False, "http://bookshop-gateway")
    assert [event["message"] for event in found["events"]] == ["Revision 1 is on its way."]
    assert [(one["pod"], one["reason"]) for one in found["troubles"]] == [("bookshop-order-1", "CrashLoopBackOff")]
    assert found["services"] == [{"name": "order", "ready": 0, "desired": 1, "image": "x"}]


async def tell(session: Session, about: Object, message: str) -> None:
    involved = {"apiVersion": SHOP.api_version, "kind": SHOP.kind, "name": "bookshop", "namespace": session.namespace}
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"generateName": "bookshop-", "namespace": session.namespace},
        "involvedObject": {**involved, "uid": about["metadata"]["uid"]},
        "type": "Normal",
        "reason": "Tested",
        "message": message,
        "lastTimestamp": "2026-11-22T08:00:00Z",
    }
    await session.kube.create(EVENT, event)


async def test_a_problem_of_a_job_that_has_succeeded_all_the_same_is_none(session: Session, shop: Object) -> None:
    job = await session.kube.create(JOB, job_body(session.namespace, "bookshop-migrate"))
    failed = shopctl.pod(session.namespace, "bookshop-migrate-1", "migrate")
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": "bookshop-migrate", "uid": job["metadata"]["uid"]}
    failed["metadata"]["ownerReferences"] = [{**owner, "controller": True}]
    await session.kube.create(POD, failed)
    status = {"phase": "Failed", "reason": "Evicted", "message": "The node was low on memory."}
    await session.kube.patch(POD, session.namespace, "bookshop-migrate-1", {"status": status}, subresource="status")
    assert [one.reason for one in await overview_reader.troubled(session, "bookshop")] == ["Evicted"]
    await end_job(session, job, "Complete")
    assert await overview_reader.troubled(session, "bookshop") == []


async def test_the_status_command_ends_with_1_until_the_shop_is_ready(
    session: Session, shop: Object, kubeconfig: Path
) -> None:
    options = ("-n", session.namespace, "--kubeconfig", kubeconfig)
    new = await shopctl.run("status", "bookshop", *options)
    assert (new.code, new.err) == (1, "")
    assert new.out.startswith(f"bookshop in namespace {session.namespace}: New: the operator has not seen it")
    await set_status(session, observedGeneration=1, conditions=[shopctl.condition("Ready", "True", 1)])
    ready = await shopctl.run("status", "bookshop", *options, "--json", module="shop.operator.cli.kubectl_shop")
    assert (ready.code, json.loads(ready.out)["ready"]) == (0, True)


# suspend and resume


async def operator(session: Session) -> None:
    """Answers spec.suspend as the operator does."""
    while True:
        found = await session.shop("bookshop")
        generation = found["metadata"]["generation"]
        paused = shopctl.condition("Paused", str(found["spec"]["suspend"]), generation)
        await set_status(session, observedGeneration=generation, conditions=[paused])
        await asyncio.sleep(0.1)


async def test_suspend_and_resume_wait_for_the_operator(session: Session, shop: Object) -> None:
    answering = asyncio.create_task(operator(session))
    try:
        said = await operator_requests.set_suspended(session, "bookshop", suspended=True, timeout_s=WAIT_S)
        assert said.startswith("bookshop is suspended")
        assert (await session.shop("bookshop"))["spec"]["suspend"] is True
        said = await operator_requests.set_suspended(session, "bookshop", suspended=False, timeout_s=WAIT_S)
        assert said.startswith("bookshop is resumed")
        assert (await session.shop("bookshop"))["spec"]["suspend"] is False
    finally:
        answering.cancel()


async def test_suspend_without_an_operator_says_that_nobody_answered(
    session: Session, shop: Object, kubeconfig: Path
) -> None:
    options = ("-n", session.namespace, "--kubeconfig", kubeconfig, "--timeout", "1")
    done = await shopctl.run("suspend", "bookshop", *options)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("shopctl: bookshop is marked suspended, but no operator answered within 1 s")
    assert (await session.shop("bookshop"))["spec"]["suspend"] is True


# backup


def job_body(namespace: str, name: str) -> Object:
    template = {"spec": {"restartPolicy": "Never", "containers": [{"name": "backup", "image": "x"}]}}
    metadata = {"name": name, "namespace": namespace, "labels": {SHOP_LABEL: "bookshop"}}
    spec = {"template": template, "backoffLimit": 0}
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec}


@pytest.fixture
async def schedule(session: Session, shop: Object) -> Object:
    template = job_body(session.namespace, "")
    body = {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {**template["metadata"], "name": "bookshop-backup"},
        "spec": {
            "schedule": "0 3 * * *",
            "jobTemplate": {"metadata": {"labels": {"app.kubernetes.io/name": "backup"}}, "spec": template["spec"]},
        },
    }
    return await session.kube.create(CRON_JOB, body)


async def end_job(session: Session, job: Object, kind: str, words: str = "", code: int = 0) -> None:
    """As the Job's controller ends it, with a pod that said `words` last."""
    name, namespace = job["metadata"]["name"], session.namespace
    if words:
        body = shopctl.pod(namespace, f"{name}-x", "backup")
        body["metadata"]["labels"]["job-name"] = name
        await session.kube.create(POD, body)
        times = {"startedAt": "2026-11-22T08:00:00Z", "finishedAt": "2026-11-22T08:00:09Z"}
        ended = {
            "terminated": {"exitCode": code, "message": words, "reason": "Error" if code else "Completed", **times}
        }
        one = {"name": "backup", "image": "x", "imageID": "x", "restartCount": 0, "ready": False, "state": ended}
        status: Object = {"phase": "Failed" if code else "Succeeded", "containerStatuses": [one]}
        await session.kube.patch(POD, namespace, f"{name}-x", {"status": status}, subresource="status")
    start = "2026-11-22T08:00:00Z"
    before = "SuccessCriteriaMet" if kind == "Complete" else "FailureTarget"
    conditions = [{"type": one, "status": "True", "lastTransitionTime": start} for one in (before, kind)]
    end = {"completionTime": "2026-11-22T08:00:10Z"} if kind == "Complete" else {}
    status = {"startTime": start, "conditions": conditions, **end}
    await session.kube.patch(JOB, namespace, name, {"status": status}, subresource="status")


async def made_job(session: Session) -> Object:
    found: list[Object] = []

    async def there() -> bool:
        found[:] = await session.kube.list(JOB, session.namespace)
        return bool(found)

    await wait_until(there, WAIT_S)
    return found[0]


async def test_a_backup_is_a_job_of_the_schedule_and_reports_where_it_went(session: Session, schedule: Object) -> None:
    asked = asyncio.create_task(backup_job.back_up(session, "bookshop", WAIT_S))
    job = await made_job(session)
    assert job["metadata"]["ownerReferences"][0]["uid"] == schedule["metadata"]["uid"]
    assert job["metadata"]["labels"] == {SHOP_LABEL: "bookshop", "app.kubernetes.io/name": "backup"}
    await end_job(session, job, "Complete", "wrote bookshop-20261122 (5 MB)")
    assert await asked == f"Backup of bookshop done by Job {job['metadata']['name']}: wrote bookshop-20261122 (5 MB)"


async def test_a_failed_backup_quotes_its_pod(session: Session, schedule: Object) -> None:
    asked = asyncio.create_task(backup_job.back_up(session, "bookshop", WAIT_S))
    await end_job(session, await made_job(session), "Failed", "pg_dump: error: no space left on device", 1)
    with pytest.raises(ShopctlError, match=r"the backup failed: .*no space left on device"):
        await asked


async def test_a_backup_that_takes_too_long_keeps_running(session: Session, schedule: Object) -> None:
    with pytest.raises(ShopctlError, match=r"has not ended within 0.5 s; it keeps running"):
        await backup_job.back_up(session, "bookshop", 0.5)
    assert len(await session.kube.list(JOB, session.namespace)) == 1


async def test_a_shop_without_backups_says_how_to_have_them(session: Session, shop: Object) -> None:
    with pytest.raises(ShopctlError, match=r"bookshop has no backup: set spec.backup"):
        await backup_job.back_up(session, "bookshop", WAIT_S)


# logs


async def test_logs_are_prefixed_with_their_pod_and_cut(
    session: Session, shop: Object, node: Node, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("bookshop-order-1", "bookshop-order-2"):
        await nodes.run_pod(session.kube, shopctl.pod(session.namespace, name, "order"), node)
        await node.write(name, "order", "first", "second", "third")
    await nodes.run_pod(session.kube, shopctl.pod(session.namespace, "bookshop-user-1", "user"), node)
    await session.kube.create(POD, shopctl.pod(session.namespace, "bookshop-order-3", "order"))
    await pod_logs.show(session, "bookshop", "order", 2)
    said = capsys.readouterr()
    expected = [f"bookshop-order-{number}: {line}" for number in (1, 2) for line in ("second", "third")]
    assert said.out.splitlines() == expected
    assert said.err.startswith("bookshop-order-3: nothing has run in it yet")


async def test_an_unknown_service_is_reported_which_there_are(session: Session, shop: Object, node: Node) -> None:
    await nodes.run_pod(session.kube, shopctl.pod(session.namespace, "bookshop-order-1", "order"), node)
    with pytest.raises(ShopctlError, match="bookshop has no pods of ordr; there are pods of: order"):
        await pod_logs.show(session, "bookshop", "ordr", 2)


async def test_following_takes_up_new_pods_and_loses_nothing_when_a_connection_breaks(
    session: Session, shop: Object, node: Node, capsys: pytest.CaptureFixture[str]
) -> None:
    await nodes.run_pod(session.kube, shopctl.pod(session.namespace, "bookshop-order-1", "order"), node)
    await node.write("bookshop-order-1", "order", "old", "last")
    following = asyncio.create_task(pod_logs.follow(session, "bookshop", None, 1))
    seen: list[str] = []

    async def printed(line: str) -> None:
        def there() -> bool:
            seen.extend(capsys.readouterr().out.splitlines())
            return line in seen

        await wait_until(there, WAIT_S)

    try:
        await printed("bookshop-order-1: last")
        await node.write("bookshop-order-1", "order", "now")
        await printed("bookshop-order-1: now")
        await nodes.run_pod(session.kube, shopctl.pod(session.namespace, "bookshop-user-1", "user"), node)
        await node.write("bookshop-user-1", "user", "hello")
        await printed("bookshop-user-1: hello")
        await node.cut()
        await node.write("bookshop-order-1", "order", "after the cut")
        await printed("bookshop-order-1: after the cut")
    finally:
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
    assert seen == [
        "bookshop-order-1: last",
        "bookshop-order-1: now",
        "bookshop-user-1: hello",
        "bookshop-order-1: after the cut",
    ]


async def test_following_ends_when_nobody_reads_any_more(
    session: Session, shop: Object, node: Node, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(_: str) -> None:
        raise BrokenPipeError

    monkeypatch.setattr(pod_logs, "write", gone)
    await nodes.run_pod(session.kube, shopctl.pod(session.namespace, "bookshop-order-1", "order"), node)
    await node.write("bookshop-order-1", "order", "a line")
    with pytest.raises(BrokenPipeError):
        await pod_logs.follow(session, "bookshop", None, 1)


# how it fails


@pytest.mark.parametrize("command", ["status", "audit", "backup", "logs", "logs -f", "suspend", "resume"])
async def test_a_shop_that_does_not_exist_is_one_line(namespace: str, kubeconfig: Path, command: str) -> None:
    module = "shop.operator.cli.kubectl_shop"
    done = await shopctl.run(*command.split(), "nope", "-n", namespace, "--kubeconfig", kubeconfig, module=module)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(f"kubectl shop: no Shop nope in namespace {namespace} of https://127.0.0.1:")
    assert done.err.count("\n") == 1


async def test_an_api_server_that_does_not_answer_is_one_line(tmp_path: Path, apiserver: ApiServer) -> None:
    port = free_port()
    kubeconfig = apiserver.kubeconfig_for("nobody", server=f"https://127.0.0.1:{port}")
    done = await shopctl.run("status", "bookshop", "--kubeconfig", kubeconfig)
    assert done.code == 1
    assert done.err.startswith(f"shopctl: https://127.0.0.1:{port} does not answer: Connect call failed")
    assert done.err.count("\n") == 1


async def test_a_kubeconfig_that_is_not_there_is_one_line() -> None:
    done = await shopctl.run("resume", "bookshop")
    assert (done.code, done.err.count("\n")) == (1, 1)
    assert done.err.startswith("shopctl: no kubeconfig at /nonexistent")


async def test_an_unknown_context_is_reported_with_the_known_ones(kubeconfig: Path) -> None:
    done = await shopctl.run("status", "bookshop", "--kubeconfig", kubeconfig, "--context", "mars")
    assert done.err.startswith("shopctl: kubeconfig: there is no context 'mars' (there is: tests)")


async def test_a_missing_right_is_one_line(apiserver: ApiServer, api: Kube, namespace: str) -> None:
    kubeconfig = apiserver.kubeconfig_for("stranger")
    done = await shopctl.run("status", "bookshop", "-n", namespace, "--kubeconfig", kubeconfig)
    assert (done.code, done.err.count("\n")) == (1, 1)
    assert 'User "stranger" cannot get resource "shops"' in done.err


async def test_unknown_credentials_are_one_line(apiserver: ApiServer, api: Kube, namespace: str) -> None:
    kubeconfig = apiserver.kubeconfig_for("expired", token="long-ago")
    done = await shopctl.run("status", "bookshop", "-n", namespace, "--kubeconfig", kubeconfig)
    assert (done.code, done.err.count("\n")) == (1, 1)
    assert done.err.startswith("shopctl: the API server does not take the kubeconfig's credentials")


async def test_the_right_to_shops_alone_is_enough_for_the_status(
    session: Session, shop: Object, apiserver: ApiServer
) -> None:
    await shopctl.allow(session.kube, session.namespace, "reader", {"shops.shopkeeper.dev": ["shops"]}, ["get"])
    await set_status(session, observedGeneration=1, conditions=[shopctl.condition("Ready", "True", 1)])
    async with Kube(apiserver.kubeconfig_for("reader")) as kube:
        found = await overview_reader.overview(Session(kube, session.namespace, True), "bookshop")
    assert (found.ready, found.troubles, found.events) == (True, [], [])


@pytest.mark.skipif(program("kubectl") is None, reason="kubectl is neither on PATH nor in the test cluster's cache")
async def test_kubectl_finds_the_plugin(session: Session, shop: Object, kubeconfig: Path) -> None:
    plugin = Path(sys.executable).with_name("kubectl-shop")
    if not plugin.exists():
        pytest.skip(f"{plugin} is not installed")
    path = os.pathsep.join([str(plugin.parent), os.environ.get("PATH", "")])
    environment = {**os.environ, "PATH": path, "KUBECONFIG": str(kubeconfig)}
    command = (str(program("kubectl")), "shop", "status", "bookshop", "-n", session.namespace, "--json")
    process = await asyncio.create_subprocess_exec(*command, stdout=-1, stderr=-1, env=environment)
    out, err = await process.communicate()
    assert (process.returncode, err) == (1, b"")
    assert json.loads(out)["name"] == "bookshop"
