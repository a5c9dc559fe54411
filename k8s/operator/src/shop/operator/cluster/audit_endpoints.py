"""The audit of a Shop in a cluster: its databases, broker and cache at the addresses that its services use."""

import base64

from shop.operator.audit.model import Options, Result
from shop.operator.audit.run import Target
from shop.operator.cluster.port_forward import Forwards
from shop.operator.cluster.session import Session
from shop.operator.engine.reconcile.preflight import DIRECT
from shop.operator.errors import ShopctlError
from shop.operator.kube.kinds import DEPLOYMENT, SECRET
from shop.operator.kube.objects import Object
from shop.operator.local import audit_target
from shop.operator.program import shopctl
from shop.operator.resource.spec import ShopSpec
from shop.operator.services import WITH_DATABASE

DATABASE_VARIABLE, BROKER_VARIABLE, CACHE_VARIABLE = "SHOP_DATABASE_URL", "SHOP_NATS_URL", "SHOP_VALKEY_URL"
POSTGRES_PORT, NATS_PORT, VALKEY_PORT = 5432, 4222, 6379
BROKER_NOUN, CACHE_NOUN = "order", "leaderboard"


async def audit(session: Session, name: str, options: Options, wait_s: float) -> tuple[list[Result], list[str]]:
    """What each oracle found, and what was still under way after `wait_s`."""
    modules = (await session.shop(name))["spec"].get("modules", {})
    nouns = ShopSpec.model_validate({"modules": modules}).nouns
    async with Forwards(session) as forwards:
        databases = {}
        for noun in filter(nouns.__contains__, WITH_DATABASE):
            databases[noun] = await forwards.url(await _url(session, name, noun, DATABASE_VARIABLE), POSTGRES_PORT)
        broker = await forwards.url(await _url(session, name, BROKER_NOUN, BROKER_VARIABLE), NATS_PORT)
        cache = ""
        if CACHE_NOUN in nouns:
            cache = await forwards.url(await _url(session, name, CACHE_NOUN, CACHE_VARIABLE), VALKEY_PORT)
        return await audit_target.check(Target(databases, broker, cache_url=cache), options, wait_s)


async def _url(session: Session, name: str, noun: str, variable: str) -> str:
    """What the service's container has in that variable; of a database behind a pooler, the server itself."""
    deployment = await session.kube.get(DEPLOYMENT, session.namespace, f"{name}-{noun}")
    if deployment is None:
        raise ShopctlError(f"{name} has no Deployment {name}-{noun} to audit; see `{shopctl()} status {name}`")
    secret_name, key = secret_of(deployment, noun, variable)
    secret = await session.kube.get(SECRET, session.namespace, secret_name)
    data = (secret or {}).get("data", {})
    encoded = data.get(f"{key}{DIRECT}", data.get(key))
    if encoded is None:
        raise ShopctlError(f"Secret {secret_name} has no key {key}, from which {noun} takes its {variable}")
    return base64.b64decode(encoded).decode()


def secret_of(deployment: Object, noun: str, variable: str) -> tuple[str, str]:
    """Name and key of the Secret that a container's variable is taken from."""
    containers = {one["name"]: one for one in deployment["spec"]["template"]["spec"]["containers"]}
    for one in containers.get(noun, {}).get("env", []):
        reference = one.get("valueFrom", {}).get("secretKeyRef")
        if one["name"] == variable and reference:
            return reference["name"], reference["key"]
    raise ShopctlError(f"Deployment {deployment['metadata']['name']} takes no {variable} from a Secret")
