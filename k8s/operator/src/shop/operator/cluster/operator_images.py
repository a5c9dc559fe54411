"""The images that the operator of a cluster uses, read from its Deployment and its Shops."""

from dataclasses import dataclass
from importlib.metadata import version

from shop.operator.cluster.session import FORBIDDEN, Session
from shop.operator.engine.render.values import LOCAL_REGISTRY, Images
from shop.operator.kube.api_errors import ApiError
from shop.operator.kube.kinds import DEPLOYMENT
from shop.operator.kube.objects import NOUN_LABEL, SHOP_LABEL, NamespacedName, Object

VERSION_LABEL = "app.kubernetes.io/version"


@dataclass(frozen=True, slots=True)
class Choice:
    """`version` is that of a Shop that names none; `note` says what is unknown."""

    version: str
    images: Images
    note: str = ""


async def choice(session: Session, key: NamespacedName, live: Object | None) -> Choice:
    """The version is that of the operator's Deployment, else the one that an existing Shop runs, which may be an
    older one after a rollback. Images are as a Shop that is there has them, else as the operator names them."""
    operator, note = await _operator(session, key.namespace)
    labelled = operator["metadata"]["labels"].get(VERSION_LABEL, "") if operator else ""
    if live is not None:
        seen = "" if live["spec"].get("version") else live.get("status", {}).get("version")
        return Choice(labelled or seen or version("shop-operator"), await _of_shop(session, key, live))
    return Choice(labelled or version("shop-operator"), _of_operator(operator) if operator else Images(), note)


async def _operator(session: Session, namespace: str) -> tuple[Object | None, str]:
    """The Deployment of the operator that watches `namespace`, or why it is not known."""
    try:
        found = await session.kube.list(DEPLOYMENT, None, f"{NOUN_LABEL}=shop-operator")
    except ApiError as error:
        if error.status != FORBIDDEN:
            raise
        return None, "no right to look for the operator, so images and Jobs may be named differently"
    operator = next((one for one in found if _watches(one, namespace)), None)
    return operator, "" if operator else f"no operator watches namespace {namespace}: nothing would apply this"


async def _of_shop(session: Session, key: NamespacedName, live: Object) -> Images:
    deployments = await session.kube.list(DEPLOYMENT, key.namespace, f"{SHOP_LABEL}={key.name}")
    chosen = {noun for noun, service in live["spec"].get("services", {}).items() if service.get("image")}
    others = [one for one in deployments if one["metadata"]["labels"].get(NOUN_LABEL) not in chosen]
    return next(filter(None, map(of_service, others)), Images())


def of_service(deployment: Object) -> Images | None:
    """Where a service's image came from, None when it is not named as the project's are."""
    noun = deployment["metadata"]["labels"].get(NOUN_LABEL, "")
    spec = deployment["spec"]["template"]["spec"]
    container = spec["containers"][0]
    registry, found, rest = container["image"].rpartition(f"/shop-{noun}")
    if not found or not rest.startswith(":"):
        return None
    pull_secrets = tuple(one["name"] for one in spec.get("imagePullSecrets", []))
    return Images(registry, container.get("imagePullPolicy", ""), pull_secrets)


def _of_operator(deployment: Object) -> Images:
    given = _variables(deployment)
    pull_secrets = given.get("SHOP_OPERATOR_IMAGE_PULL_SECRETS", "")
    return Images(
        given.get("SHOP_OPERATOR_IMAGE_REGISTRY", LOCAL_REGISTRY),
        given.get("SHOP_OPERATOR_IMAGE_PULL_POLICY", ""),
        tuple(name for name in pull_secrets.split(",") if name),
    )


def _watches(operator: Object, namespace: str) -> bool:
    watched = [name for name in _variables(operator).get("SHOP_OPERATOR_NAMESPACES", "").split(",") if name]
    return not watched or namespace in watched


def _variables(deployment: Object) -> dict[str, str]:
    containers = deployment["spec"]["template"]["spec"]["containers"]
    return {one["name"]: one.get("value", "") for container in containers for one in container.get("env", [])}
