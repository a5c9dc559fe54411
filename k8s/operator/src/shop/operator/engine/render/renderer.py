"""Renders the objects of a Shop: Secrets, and the output of `helm template` for charts/shop.

One function for the operator and for `shopctl plan`. Its objects are the chart's, with these additions:

- metadata.namespace, SHOP_LABEL on every object, pod template and volume claim, and `managed-by: shop-operator`;
- an ownerReference to the Shop, except on what has `helm.sh/resource-policy: keep`: that may outlive the Shop,
  and has the annotations ARGO_CD_IGNORE instead;
- the annotation APPLIED, a hash of the object without it.

Secrets come from `shop_secrets`, and hooks of Helm (its test) are left out. Equal input gives equal output.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import shutil
import time
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from shop.operator.engine.metrics import RENDER
from shop.operator.engine.render import shop_secrets
from shop.operator.engine.render.charts import Charts
from shop.operator.engine.render.values import Images, RenderError, Values, values
from shop.operator.kube.kinds import RENDERED, SHOP, order_of
from shop.operator.kube.objects import APPLIED, ARGO_CD_IGNORE, KEEP, MANAGER, SHOP_LABEL, Object
from shop.operator.resource.spec import Shop

MAX_HELM_PROCESSES = 2
"""At once; more would only wait for the same cores, at 85 MB each."""
HELM_TIMEOUT_S = 60.0
APPLIED_DIGITS = 16
RELEASE_DIGITS = 8
HELM_VARIABLE = "SHOP_OPERATOR_HELM"
CHARTS_VARIABLE = "SHOP_OPERATOR_CHARTS"
_CACHED_HELM = Path.home() / ".cache" / "devcluster" / "bin" / "helm"
_REPOSITORY_CHARTS = Path(__file__).parents[7] / "charts"
# A short-lived process needs garbage collection only when it is large: a third less CPU for 28 MB.
_HELM_ENVIRONMENT = {"GOGC": "off", "GOMEMLIMIT": "128MiB", "HOME": "/tmp", "HELM_PLUGINS": "/nonexistent"}  # noqa: S108


class HelmNotFound(RuntimeError):
    """helm or the charts were not found; the message says where they were searched."""


def find_helm() -> Path:
    """The helm of SHOP_OPERATOR_HELM, of the PATH, or of the test cluster's cache; HelmNotFound without any."""
    for place in (os.environ.get(HELM_VARIABLE), shutil.which("helm"), _CACHED_HELM):
        if place and os.access(place, os.X_OK):
            return Path(place)
    raise HelmNotFound(f"helm is not in ${HELM_VARIABLE}, not on the PATH and not at {_CACHED_HELM}")


def find_charts() -> Path:
    """The folder with charts/shop: SHOP_OPERATOR_CHARTS, or this repository's; HelmNotFound without any."""
    for place in (os.environ.get(CHARTS_VARIABLE), _REPOSITORY_CHARTS):
        if place and (Path(place) / "shop" / "Chart.yaml").is_file():
            return Path(place)
    raise HelmNotFound(f"there is no shop/Chart.yaml in ${CHARTS_VARIABLE} and none in {_REPOSITORY_CHARTS}")


class Renderer:
    """Renders Shops with one set of charts; safe for use by several tasks of one loop."""

    def __init__(self, helm: Path, charts: Path, version: str, *, images: Images | None = None) -> None:
        self.version = version
        self.kube_version = ""
        """Of the cluster, such as v1.34.1, for the charts' constraint; "" leaves helm's own default. No object depends
        on it, so a cluster's upgrade rolls nothing out."""
        self._helm = helm
        self._charts = Charts(charts, version)
        self._images = images or Images()
        self.release = f"{version}-{_sha256([self._charts.digest(None), asdict(self._images)])[:RELEASE_DIGITS]}"
        """Identifies what all Shops are rendered with: version, charts and image settings."""
        self._slots = asyncio.Semaphore(MAX_HELM_PROCESSES)

    def inputs_hash(self, shop: Shop, namespace: str, seed: bytes, optional: frozenset[str], retry: str = "") -> str:
        """Changes exactly when the objects may: with the values, the charts and the seed. RenderError as `render`.

        It changes with `retry` as well, which asks for another rollout of the same objects.
        """
        given = values(shop, optional=optional, version=self.version, images=self._images)
        digest = self._charts.digest(shop.spec.version)
        return _sha256([namespace, digest, seed.hex(), given, *([retry] if retry else [])])

    async def render(self, shop: Shop, namespace: str, uid: str, seed: bytes, optional: frozenset[str]) -> list[Object]:
        """Every object of `shop`, in the order of applying; RenderError names the invalid field.

        `uid` is the Shop's, for the ownerReferences; "" leaves them out, for a Shop that does not exist yet.
        """
        given = values(shop, optional=optional, version=self.version, images=self._images)
        name = shop.metadata.name
        made = shop_secrets.secrets(name, namespace, given, seed)
        text = await self._template(shop, namespace, shop_secrets.named(name, given), optional)
        found = [*made, *documents(text)]
        for obj in found:
            _decorate(obj, shop, namespace, uid)
        return sorted(found, key=order_of)

    async def _template(self, shop: Shop, namespace: str, given: Values, optional: frozenset[str]) -> bytes:
        version = shop.spec.version
        arguments = ["template", shop.metadata.name, str(self._charts.path(version)), "--namespace", namespace]
        arguments += ["--values", "-", "--no-hooks"]
        arguments += ["--kube-version", self.kube_version] if self.kube_version else []
        for kind in RENDERED:
            if kind.optional and kind.kind in optional:
                arguments += ["--api-versions", f"{kind.api_version}/{kind.kind}"]
        # The values follow from checked models, and tests render them with the schema, so it is not read here. That of
        # an earlier version is: it refuses what the charts of that version do not know.
        arguments += ["--skip-schema-validation"] if version in (None, self.version) else []
        async with self._slots:
            started = time.perf_counter()
            # JSON that is valid YAML, too: no surrogate pairs, and no characters that YAML forbids.
            text = json.dumps(given, ensure_ascii=False)
            text = _NOT_IN_YAML.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
            code, out, err = await _run(self._helm, tuple(arguments), text)
        RENDER.labels("failed" if code else "done").observe(time.perf_counter() - started)
        if code:
            raise RenderError(translate_helm_error(err.decode(errors="replace")))
        return out


async def _run(program: Path, arguments: tuple[str, ...], given: str) -> tuple[int, bytes, bytes]:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        program, *arguments, stdin=pipe, stdout=pipe, stderr=pipe, env=_HELM_ENVIRONMENT
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(given.encode()), HELM_TIMEOUT_S)
    except TimeoutError:
        raise RenderError(f"helm did not finish within {HELM_TIMEOUT_S:g} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    return process.returncode or 0, out, err


_NOT_IN_YAML = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
_PLAIN_SCALARS = 8_192
_TEXT_TAGS = frozenset(f"tag:yaml.org,2002:{name}" for name in ("str", "timestamp", "value", "merge"))


def documents(text: bytes) -> list[Object]:
    """The objects in helm's output; half the cost of `yaml.load_all`, which resolves every scalar anew."""
    loader, found = yaml.CBaseLoader(text), []
    try:
        while loader.check_node():
            if obj := _value(loader.get_node()):
                found.append(obj)
    finally:
        loader.dispose()
    return found


def _value(node: yaml.Node | None) -> Any:
    if isinstance(node, yaml.MappingNode):
        return {key.value: _value(value) for key, value in node.value}
    if isinstance(node, yaml.SequenceNode):
        return [_value(part) for part in node.value]
    if isinstance(node, yaml.ScalarNode):
        return node.value if node.style else _plain(node.value)
    return None


@lru_cache(_PLAIN_SCALARS)
def _plain(text: str) -> Any:
    """The value of an unquoted scalar; timestamps and syntax of YAML 1.1 alone stay text."""
    loader = yaml.SafeLoader("")
    tag = loader.resolve(yaml.ScalarNode, text, (True, False))  # type: ignore[no-untyped-call]
    return text if tag in _TEXT_TAGS else loader.construct_object(yaml.ScalarNode(tag, text))


def _decorate(obj: Object, shop: Shop, namespace: str, uid: str) -> None:
    """Make the additions that the module's docstring lists."""
    name = shop.metadata.name
    metadata, spec = obj["metadata"], obj.get("spec", {})
    metadata["namespace"] = namespace
    metadata.setdefault("labels", {}).update({"app.kubernetes.io/managed-by": MANAGER, SHOP_LABEL: name})
    # The metadata of what controllers create from it: pods, volume claims, and those of CloudNativePG.
    inner = [claim["metadata"] for claim in spec.get("volumeClaimTemplates", ())]
    if obj["kind"] == "Cluster":
        inner.append(spec.setdefault("inheritedMetadata", {}))
    if obj["kind"] == "CronJob":
        inner.append(spec["jobTemplate"].setdefault("metadata", {}))
        spec = spec["jobTemplate"]["spec"]
    if "template" in spec:
        inner.append(spec["template"]["metadata"])
    for labelled in inner:
        labelled.setdefault("labels", {})[SHOP_LABEL] = name
    annotations = metadata.setdefault("annotations", {})
    if annotations.get(KEEP) == "keep":
        annotations.update(ARGO_CD_IGNORE)
    elif uid:
        owner = {"apiVersion": SHOP.api_version, "kind": SHOP.kind, "name": name, "uid": uid, "controller": True}
        metadata["ownerReferences"] = [owner]
    annotations[APPLIED] = _sha256(obj)[:APPLIED_DIGITS]


def _sha256(what: Any) -> str:
    return hashlib.sha256(json.dumps(what, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


_SENTENCE = re.compile(r"^execution error at \(\S+\): ")
_FIELDS = tuple(
    (re.compile(pattern), field)
    for pattern, field in (
        (r"\bservices\.gateway\.(?:ingress|httpRoute)\.enabled\b", "spec.exposure"),
        (r"\bservices\.gateway\.(?:ingress|httpRoute)\.", "spec.exposure."),
        (r"\bservices\.[a-z]+\.grpc\.exposure\b", "spec.exposure"),
        (r"\bservices\.[a-z]+\.grpc\.", "spec.exposure."),
        (r"\bservices\.(?=[a-z])", "spec.services."),
        (r"\bglobal\.store\b", "spec.store"),
        (r"\bcatalog(?=[. ])", "spec.store.catalog"),
        (r"\brestore\.", "spec.restoreFrom."),
        (r"\b(database|messaging|cache|backup)\.", r"spec.\1."),
    )
)
"""The fields of a Shop that the chart's values come from."""


def translate_helm_error(stderr: str) -> str:
    """helm's message with the Shop's fields for the chart's values, and without positions in templates."""
    lines = [line for line in stderr.splitlines() if not line.startswith("level=")]
    text = " ".join(" ".join(lines).split()).removeprefix("Error: ")
    if not _SENTENCE.match(text):
        return f"the charts could not be rendered: {text}"
    text = _SENTENCE.sub("", text)
    for pattern, field in _FIELDS:
        text = pattern.sub(field, text)
    return text
