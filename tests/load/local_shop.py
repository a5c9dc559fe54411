"""The shop under load: started by shopctl in a separate folder, and measured from outside."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import urllib.request
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import yaml

from shop.devkit.embedded import SUPERUSER, PostgresStore
from shop.operator.local import running_shop
from shop.operator.local.data_dir import DataDir
from tests.load.shoppers import require_local

ROOT = Path(__file__).parents[2]
SAMPLE = ROOT / "k8s" / "samples" / "bookshop.yaml"
UP_TIMEOUT_S = 180
COMMAND_TIMEOUT_S = 120
SCRAPE_TIMEOUT_S = 5
CHEAP_PASSWORDS = {"user": {"SHOP_ARGON2_MEMORY_KIB": "8", "SHOP_ARGON2_PASSES": "1"}}
"""For tests that sign up hundreds of customers, each of whom costs two hashes of a password."""
BURSTS_ACCEPTED = {"gateway": {"SHOP_LATENCY_TARGET_S": "0"}}
"""For tests whose customers come all at once, which a busy machine would take for an overload."""
WITHOUT_LIMITS = {"SHOP_RATE_LIMIT_PER_SECOND": "0", "SHOP_SIGN_IN_RATE_LIMIT_PER_SECOND": "0"}
STATEMENTS = re.compile(r"^shop_database_statements_total(?:\{[^}]*\})? ([0-9.e+]+)$", re.MULTILINE)
REPLICA = re.compile(r"-[0-9]+$")
"""The end of the name of a process of a service that has several."""
BYTECODE = ROOT / "build" / "bytecode"
OWN_PROGRAM = Path(sys.executable).with_name("shopctl")
Json = dict[str, Any]


class ShopctlFailed(RuntimeError):
    """shopctl ended with an error; the message is its error output."""


@dataclass(frozen=True)
class Usage:
    """Of one component with its children: processor time so far (s), memory (bytes, shared pages divided by users).

    ``resident_bytes`` counts shared pages once for each process.
    """

    name: str
    cpu_s: float
    memory_bytes: int
    resident_bytes: int


@dataclass(frozen=True)
class LocalShop:
    """A running shop with its data in ``data_dir``."""

    data_dir: Path

    def status(self) -> Json:
        """The supervisor's answer. It is asked directly: a shopctl for each look takes most of a second of CPU."""
        found: Json = running_shop.command(DataDir(self.data_dir), "status")
        require_local(found["url"])
        return found

    def stop(self, component: str) -> None:
        """End a component, as `shopctl stop` does; it stays away until it is started."""
        running_shop.command(DataDir(self.data_dir), "stop", component=component)

    def start(self, component: str) -> None:
        """Returns once it is ready."""
        running_shop.command(DataDir(self.data_dir), "start", component=component)

    def restart(self, component: str) -> None:
        """One process after the other, as `shopctl restart` does; returns once all are ready."""
        running_shop.command(DataDir(self.data_dir), "restart", component=component)

    def scale(self, noun: str, count: int) -> list[str]:
        """The names of the service's processes, once all are ready."""
        answer = running_shop.command(DataDir(self.data_dir), "scale", service=noun, count=count)
        return list(answer["components"])

    def shop_file(self) -> str:
        """The Shop that it was started or last changed with."""
        return DataDir(self.data_dir).shop_file.read_text(encoding="utf-8")

    def apply(self, shop: str) -> list[str]:
        """Change it to what this Shop says; the services that changed, once it runs so."""
        return list(running_shop.command(DataDir(self.data_dir), "apply", shop=shop)["services"])

    def audit(self) -> Json:
        """The result of the audit, also when an oracle fails."""
        found: Json = json.loads(shopctl("audit", "--json", data_dir=self.data_dir, may_fail=True))
        return found

    def down(self) -> None:
        """End the shop and delete its data."""
        running_shop.down(DataDir(self.data_dir), delete=True)

    def admin_login(self) -> tuple[str, str]:
        """Email address and password of the shop's administrator."""
        admin = self.status()["admin"]
        return admin["email"], Path(admin["password_file"]).read_text(encoding="utf-8").strip()

    def usage(self) -> list[Usage]:
        found = self.status()
        services = [usage_of(part["name"], part["pid"]) for part in found["components"]]
        supervisor, prefork = found["supervisor"]["pid"], found["supervisor"].get("prefork_pid")
        own = [usage_of("supervisor", supervisor, alone=True)]
        if prefork:
            own.append(usage_of("prefork", prefork, alone=True))
        return [*services, *own]

    def statements(self) -> float:
        """SQL statements that all services have sent since they started."""
        return sum(self.statements_by_service().values())

    def statements_by_service(self) -> dict[str, float]:
        """Likewise of each service, all of its replicas together."""
        found: defaultdict[str, float] = defaultdict(float)
        for part in self.status()["components"]:
            if part["kind"] == "service":
                found[REPLICA.sub("", part["name"])] += _statements(part["port"])
        return dict(found)

    def database_url(self, noun: str = "") -> str:
        """The superuser's URL of the database of the service ``noun``, without one of PostgreSQL's own."""
        port = next(part["port"] for part in self.status()["components"] if part["name"] == "postgres")
        store = PostgresStore(self.data_dir / "postgres", port=port)
        return store.url_for(SUPERUSER, store.secret, f"shop_{noun}" if noun else "postgres")

    def pid(self, noun: str) -> int:
        """The process of the service ``noun`` (the first replica)."""
        parts = self.status()["components"]
        return next(int(part["pid"]) for part in parts if part["name"] in {noun, f"{noun}-1"})


def start(
    data_dir: Path,
    port: int,
    replicas: Sequence[str] = (),
    more: Sequence[str] = (),
    modules: Mapping[str, bool] | None = None,
    env: Mapping[str, Mapping[str, str]] | None = None,
    traces_to: str = "",
    trace_ratio: float = 1.0,
    control_room: bool = False,
) -> LocalShop:
    """A new shop on ``port``, without rate limits, which would limit the measurement; returns once it sells.

    ``more`` are further options of `shopctl up`; ``modules`` are turned on or off; ``env`` has
    variables by service; ``trace_ratio`` of the traces are exported to the endpoint ``traces_to``. Without a
    ``control_room`` a process less takes part in what is measured.
    """
    resource = data_dir.with_suffix(".yaml")
    document = shop_document(SAMPLE, modules, env)
    if traces_to:
        document["spec"]["observability"] = {"tracing": {"endpoint": traces_to, "sampleRatio": trace_ratio}}
    resource.write_text(yaml.safe_dump(document), encoding="utf-8")
    asked = [option for replica in replicas for option in ("--replicas", replica)]
    options = ["--ops" if control_room else "--no-ops", *asked, *more]
    shopctl("up", str(resource), "--detach", "--port", str(port), *options, data_dir=data_dir, timeout_s=UP_TIMEOUT_S)
    return LocalShop(data_dir)


def shop_document(
    sample: Path, modules: Mapping[str, bool] | None = None, env: Mapping[str, Mapping[str, str]] | None = None
) -> Json:
    """The Shop resource of ``sample`` without rate limits; ``modules`` and variables by service are set."""
    document: Json = yaml.safe_load(sample.read_text(encoding="utf-8"))
    document["spec"].setdefault("modules", {}).update(modules or {})
    services = document["spec"].setdefault("services", {})
    for noun, variables in (("gateway", WITHOUT_LIMITS), *(env or {}).items()):
        services.setdefault(noun, {}).setdefault("env", {}).update(variables)
    return document


def shopctl(
    command: str,
    *options: str,
    data_dir: Path,
    may_fail: bool = False,
    timeout_s: float = COMMAND_TIMEOUT_S,
    program: Path = OWN_PROGRAM,
) -> str:
    """What shopctl printed; ShopctlFailed when it ends with an error, unless it ``may_fail`` and printed a result."""
    done = subprocess.run(
        [str(program), command, *options, "--data-dir", str(data_dir)],
        env=with_bytecode(os.environ),
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
        stdin=subprocess.DEVNULL,
    )
    if done.returncode and not (may_fail and done.stdout.strip()):
        raise ShopctlFailed(f"shopctl {command}: {(done.stderr or done.stdout).strip()[-2000:]}")
    return done.stdout


def with_bytecode(env: Mapping[str, str]) -> dict[str, str]:
    """``env``, with which Python keeps what it has compiled, as in every shop but a new one.

    A start that compiles leaves 45 MiB in its processes. What may not be beside the sources is below build/.
    """
    if not env.get("PYTHONDONTWRITEBYTECODE"):
        return dict(env)
    kept = {name: value for name, value in env.items() if name != "PYTHONDONTWRITEBYTECODE"}
    return {"PYTHONPYCACHEPREFIX": str(BYTECODE), **kept}


def usage_of(name: str, pid: int, *, alone: bool = False) -> Usage:
    """What ``pid`` and its living children use; the processor time of ended children is in their parent's."""
    root = psutil.Process(pid)
    cpu_s, memory, resident = 0.0, 0, 0
    for process in [root, *([] if alone else root.children(recursive=True))]:
        try:
            times = process.cpu_times()
            cpu_s += sum(times[:2] if alone else times[:4])
            sizes = process.memory_full_info()
            memory += sizes.pss
            resident += sizes.rss
        except psutil.NoSuchProcess:
            continue
    return Usage(name, cpu_s, memory, resident)


def _statements(port: int) -> float:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=SCRAPE_TIMEOUT_S) as answer:
        text = answer.read().decode()
    return sum(float(value) for value in STATEMENTS.findall(text))
