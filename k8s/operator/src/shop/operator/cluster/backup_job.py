"""Make a backup now: create the Job that the Shop's schedule would create, and wait for its end."""

import asyncio
import secrets
from datetime import UTC, datetime

from shop.operator.cluster.session import Session
from shop.operator.engine.status.health import Phase, assess
from shop.operator.engine.status.pods import last_output, pod_problem
from shop.operator.errors import ShopctlError
from shop.operator.kube.kinds import CRON_JOB, JOB, POD
from shop.operator.kube.objects import SHOP_LABEL, Object
from shop.operator.program import shopctl

SUFFIX = "-backup"
POLL_S = 1.0
MAX_NAME = 63


def job_of(schedule: Object, now: datetime, chance: str) -> Object:
    """The Job as the schedule would make it, and as `kubectl create job --from` does: owned by the schedule."""
    metadata, template = schedule["metadata"], schedule["spec"]["jobTemplate"]
    end = f"-{now:%Y%m%d%H%M%S}-{chance}"
    made = template.get("metadata", {})
    shop_label = {name: value for name, value in metadata.get("labels", {}).items() if name == SHOP_LABEL}
    return {
        "apiVersion": JOB.api_version,
        "kind": JOB.kind,
        "metadata": {
            "name": metadata["name"][: MAX_NAME - len(end)] + end,
            "namespace": metadata["namespace"],
            "labels": {**shop_label, **made.get("labels", {})},
            "annotations": {**made.get("annotations", {}), "cronjob.kubernetes.io/instantiate": "manual"},
            "ownerReferences": [
                {
                    "apiVersion": CRON_JOB.api_version,
                    "kind": CRON_JOB.kind,
                    "name": metadata["name"],
                    "uid": metadata["uid"],
                    "controller": True,
                }
            ],
        },
        "spec": template["spec"],
    }


async def back_up(session: Session, name: str, timeout_s: float) -> str:
    """Make the Job, wait for its end, and return the sentence about it; ShopctlError quotes why it failed."""
    shop = await session.shop(name)
    schedule = await session.kube.get(CRON_JOB, session.namespace, name + SUFFIX)
    if schedule is None:
        raise ShopctlError(_no_schedule(shop, name))
    job = await session.kube.create(JOB, job_of(schedule, datetime.now(UTC), secrets.token_hex(2)))
    try:
        async with asyncio.timeout(timeout_s):
            ended = await _end_of(session, job)
    except TimeoutError as error:
        raise ShopctlError(
            f"Job {job['metadata']['name']} has not ended within {timeout_s:g} s; it keeps running:"
            f" `kubectl -n {session.namespace} get job {job['metadata']['name']}`"
        ) from error
    words = await _last_message(session, ended)
    if assess(ended).phase is Phase.FAILED:
        raise ShopctlError(f"the backup failed: {words or assess(ended).message}")
    return f"Backup of {name} done by Job {ended['metadata']['name']}" + (f": {words}" if words else ".")


def _no_schedule(shop: Object, name: str) -> str:
    if "backup" not in shop.get("spec", {}):
        return f"{name} has no backup: set spec.backup with a schedule and a destination"
    return f"{name} has spec.backup, but no CronJob {name}{SUFFIX} yet; `{shopctl()} status {name}` says why"


async def _end_of(session: Session, job: Object) -> Object:
    while assess(job).phase is Phase.WAITING:
        await asyncio.sleep(POLL_S)
        found = await session.kube.get(JOB, session.namespace, job["metadata"]["name"])
        if found is None or found["metadata"]["uid"] != job["metadata"]["uid"]:
            raise ShopctlError(f"Job {job['metadata']['name']} was deleted before it ended")
        job = found
    return job


async def _last_message(session: Session, job: Object) -> str:
    """The last message of the Job's newest pod: its problem, or the end of its log on success."""
    pods = await session.kube.list(POD, session.namespace, f"job-name={job['metadata']['name']}")
    for pod in sorted(pods, key=lambda pod: str(pod["metadata"].get("creationTimestamp", "")), reverse=True):
        if found := pod_problem(pod):
            return found.message
        ended = [one.get("state", {}).get("terminated", {}) for one in pod["status"].get("containerStatuses", [])]
        if said := next((one["message"] for one in ended if one.get("message")), ""):
            return last_output(said)
    return ""
