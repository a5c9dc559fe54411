"""A real API server and its etcd, without nodes or controllers: what an operator talks to, in a few seconds.

RBAC is on and every write is in an audit log, so that tests can count writes and see who made them. Nothing runs the
controllers: no pods come of Deployments (tests/operator/kubelet.py plays that part) and no owner takes its objects
with it.
"""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import orjson

from shop.devkit.processes import free_port, launch, log_tail
from tests.operator.certificates import Authority

CACHE = Path.home() / ".cache" / "devcluster" / "bin"
START_TIMEOUT_S = 180.0
STOP_TIMEOUT_S = 10.0
POLL_S = 0.05
WRITE_VERBS = ("create", "update", "patch", "delete", "deletecollection")
AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived", "ResponseStarted"],
    "rules": [{"level": "Metadata", "verbs": list(WRITE_VERBS)}, {"level": "None"}],
}
ADMIN = "admin"
QUIET = frozenset({"leases", "events"})
"""Written all the time, whatever happens to Shops."""


def program(name: str) -> Path | None:
    """The binary, from PATH or from where tests/cluster keeps its own."""
    found = shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), str(CACHE)]))
    return Path(found) if found else None


def missing() -> str:
    """Why no server can be started here, "" when one can."""
    absent = [name for name in ("etcd", "kube-apiserver") if program(name) is None]
    return f"{' and '.join(absent)} neither on PATH nor in {CACHE}; see tests/cluster/README.md" if absent else ""


@dataclass(frozen=True, slots=True)
class Write:
    """One write that reached the API server."""

    user: str
    verb: str
    resource: str
    namespace: str
    name: str
    subresource: str
    code: int
    dry_run: bool

    def __str__(self) -> str:
        return f"{self.verb} {self.resource}/{self.name}{'/' if self.subresource else ''}{self.subresource} {self.code}"


class ApiServer:
    """Started by `start`; its files, logs among them, are in `folder`."""

    def __init__(self, folder: Path, *, options: Sequence[str] = ()) -> None:
        self.folder = folder
        self.authority = Authority(folder / "pki")
        self.port = free_port()
        self._etcd_ports = free_port(), free_port()
        self._options = list(options)
        self._etcd: subprocess.Popen[bytes] | None = None
        self._server: subprocess.Popen[bytes] | None = None
        self._serving = self.authority.issue("kube-apiserver")
        self._accounts = self.authority.key_pair("accounts")
        (folder / "policy.json").write_text(json.dumps(AUDIT_POLICY), encoding="utf-8")

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    @property
    def kubeconfig(self) -> Path:
        """Of the administrator, who may do everything."""
        path = self.folder / f"{ADMIN}.kubeconfig"
        return path if path.exists() else self.kubeconfig_for(ADMIN, groups=["system:masters"])

    @property
    def pid(self) -> int:
        """Of the API server; what a bench measures."""
        assert self._server
        return self._server.pid

    @property
    def etcd_pid(self) -> int:
        assert self._etcd
        return self._etcd.pid

    def start(self) -> None:
        """Return when it is ready; raises RuntimeError with the last lines of the log."""
        self._etcd = launch(self._etcd_command(), signal_number=signal.SIGKILL, log=self.folder / "etcd.log")
        self.start_server()

    def start_server(self) -> None:
        """The API server alone, again on its port, over the same etcd."""
        command = self._server_command()
        self._server = launch(command, signal_number=signal.SIGKILL, log=self.folder / "apiserver.log")
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self._ready():
            if self._server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"kube-apiserver did not start: {log_tail(self.folder / 'apiserver.log')}")
            time.sleep(POLL_S)

    def stop_server(self) -> None:
        """Kill the API server; etcd keeps what it has."""
        _end(self._server)

    def stop(self) -> None:
        """Leave nothing running."""
        _end(self._server)
        _end(self._etcd)

    def kubeconfig_for(self, user: str, *, groups: Sequence[str] = (), server: str = "", token: str = "") -> Path:
        """A kubeconfig for `user` by client certificate, or by `token`; `server` leads through a proxy."""
        entry: dict[str, str] = {"server": server or self.url}
        if entry["server"].startswith("https:"):
            entry["certificate-authority-data"] = _encoded(self.authority.path)
        stem = "".join(sign if sign.isalnum() else "-" for sign in user)
        path = self.folder / f"{stem}{'-by-proxy' if server else ''}.kubeconfig"
        credentials = {"token": token} if token else self._certificates(user, groups)
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "tests",
            "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": user}}],
            "clusters": [{"name": "tests", "cluster": entry}],
            "users": [{"name": user, "user": credentials}],
        }
        path.write_text(json.dumps(config), encoding="utf-8")
        return path

    def mark(self) -> int:
        """Now, for `writes`."""
        log = self.folder / "audit.log"
        return log.stat().st_size if log.exists() else 0

    def writes(self, since: int = 0, *, user: str = "", quiet: bool = False) -> list[Write]:
        """Writes after the mark `since`, of `user` if given; of Leases and Events only with `quiet`."""
        log = self.folder / "audit.log"
        if not log.exists():
            return []
        with log.open("rb") as file:
            file.seek(since)
            found = [_write(orjson.loads(line)) for line in file if line.endswith(b"\n")]
        return [write for write in found if user in ("", write.user) and (quiet or write.resource not in QUIET)]

    def _certificates(self, user: str, groups: Sequence[str]) -> dict[str, str]:
        certificate, key = self.authority.issue(user, groups)
        return {"client-certificate-data": _encoded(certificate), "client-key-data": _encoded(key)}

    def _ready(self) -> bool:
        tls = ssl.create_default_context(cafile=str(self.authority.path))
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", context=tls, timeout=2) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def _etcd_command(self) -> list[str]:
        client, peer = (f"http://127.0.0.1:{port}" for port in self._etcd_ports)
        return [
            str(program("etcd")),
            f"--data-dir={self.folder / 'etcd'}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster=default={peer}",
            "--unsafe-no-fsync",
            "--quota-backend-bytes=8589934592",
        ]

    def _server_command(self) -> list[str]:
        public, private = self._accounts
        return [
            str(program("kube-apiserver")),
            f"--etcd-servers=http://127.0.0.1:{self._etcd_ports[0]}",
            "--bind-address=127.0.0.1",
            f"--secure-port={self.port}",
            "--service-cluster-ip-range=10.0.0.0/16",
            f"--tls-cert-file={self._serving[0]}",
            f"--tls-private-key-file={self._serving[1]}",
            f"--client-ca-file={self.authority.path}",
            f"--service-account-key-file={public}",
            f"--service-account-signing-key-file={private}",
            "--service-account-issuer=https://kubernetes.default.svc",
            "--authorization-mode=RBAC",
            # No controller creates the default service account of a namespace here, and pods would wait for it.
            "--disable-admission-plugins=ServiceAccount",
            f"--audit-log-path={self.folder / 'audit.log'}",
            f"--audit-policy-file={self.folder / 'policy.json'}",
            "--audit-log-maxsize=2000",
            "--endpoint-reconciler-type=none",
            *self._options,
        ]


def _end(process: subprocess.Popen[bytes] | None) -> None:
    if process and process.poll() is None:
        process.kill()
        process.wait(STOP_TIMEOUT_S)


def _encoded(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def _write(event: dict[str, object]) -> Write:
    target = event.get("objectRef") or {}
    user, status = event["user"], event.get("responseStatus") or {}
    assert isinstance(target, dict)
    assert isinstance(user, dict)
    assert isinstance(status, dict)
    return Write(
        user=user["username"],
        verb=str(event["verb"]),
        resource=target.get("resource", ""),
        namespace=target.get("namespace", ""),
        name=target.get("name", ""),
        subresource=target.get("subresource", ""),
        code=status.get("code", 0),
        dry_run="dryRun=All" in str(event["requestURI"]),
    )
