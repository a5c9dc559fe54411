"""Address of the API server and credentials: from a kubeconfig, or the service account of this pod.

Each setting of a kubeconfig that changes the identity is either followed or refused with a message, never ignored.
"""

from __future__ import annotations

import asyncio
import base64
import os
import signal
import ssl
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson
import yaml

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
TOKEN_LIFE_S = 60.0
"""A token file is read again after this: kubelet writes a fresh token long before the old one expires."""
PLUGIN_TIMEOUT_S = 30.0
PLUGIN_LIFE_S = 3_600.0
"""For credentials of a plugin without an expiration."""
PLUGIN_MARGIN_S = 30.0
Section = Mapping[str, Any]


class LoginError(Exception):
    """There is no usable way to the API server; the message is one sentence for a person."""


@dataclass(slots=True)
class Token:
    """A bearer token: fixed, in a file that is replaced at times, or from a plugin. Empty with a client certificate."""

    value: str = ""
    file: Path | None = None
    plugin: Section | None = None
    expires: float = 0.0

    async def current(self) -> str:
        """The token to send now, "" for none."""
        if time.monotonic() >= self.expires:
            if self.file:
                self.value, self.expires = _text(self.file), time.monotonic() + TOKEN_LIFE_S
            elif self.plugin:
                status, self.expires = await run_plugin(self.plugin)
                self.value = status.get("token", "")
        return self.value

    def invalidate(self) -> bool:
        """The server refused it: read or request a new one. False when the token is fixed."""
        self.expires = 0.0
        return bool(self.file or self.plugin)


@dataclass(slots=True)
class Login:
    """Everything to connect with; `tls` is None for a plain http server, which only tests have."""

    server: str
    tls: ssl.SSLContext | None = None
    token: Token = field(default_factory=Token)
    proxy: str | None = None
    namespace: str = "default"
    tls_server_name: str | None = None


async def find(kubeconfig: Path | None = None, context: str | None = None) -> Login:
    """The given kubeconfig, else $KUBECONFIG, else this pod's service account, else ~/.kube/config."""
    if kubeconfig is not None:
        return await from_kubeconfig([kubeconfig], context)
    named = [Path(part) for part in os.environ.get("KUBECONFIG", "").split(os.pathsep) if part]
    if named:
        return await from_kubeconfig(named, context)
    if os.environ.get("KUBERNETES_SERVICE_HOST"):
        return in_cluster()
    return await from_kubeconfig([Path.home() / ".kube" / "config"], context)


def in_cluster(account: Path = SERVICE_ACCOUNT) -> Login:
    """The login of this pod."""
    host = os.environ.get("KUBERNETES_SERVICE_HOST", "")
    port = os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    if not host or not (account / "token").exists():
        raise LoginError(f"this is no pod with a service account: {account / 'token'} is missing")
    server = f"https://{f'[{host}]' if ':' in host else host}:{port}"
    token = Token(file=account / "token")
    return Login(server, tls_context(_text(account / "ca.crt")), token, namespace=_text(account / "namespace"))


async def from_kubeconfig(files: list[Path], context: str | None = None) -> Login:
    """The login of `context`, or of the current one; LoginError says what is missing or not understood."""
    config = _merged(files)
    name = context or config.get("current-context", "")
    chosen = _named(config, "contexts", "context", name)
    cluster = _named(config, "clusters", "cluster", chosen.get("cluster", ""))
    user = _named(config, "users", "user", chosen["user"]) if chosen.get("user") else {}
    if not cluster.get("server"):
        raise LoginError(f"kubeconfig: cluster {chosen.get('cluster')!r} has no server")
    proxy = cluster.get("proxy-url")
    if proxy and not proxy.startswith(("http://", "https://")):
        raise LoginError(f"kubeconfig: proxy-url {proxy!r} is not supported, only http and https proxies are")
    token, user = await _token(user)
    server, tls = cluster["server"].rstrip("/"), None
    if server.startswith("https:"):
        try:
            authority, insecure = _pem(cluster, "certificate-authority"), bool(cluster.get("insecure-skip-tls-verify"))
            certificate, key = _pem(user, "client-certificate"), _pem(user, "client-key")
            tls = tls_context(authority, certificate=certificate, key=key, insecure=insecure)
        except (ssl.SSLError, ValueError) as error:
            raise LoginError(f"kubeconfig: a certificate or key cannot be read: {error}") from error
    return Login(server, tls, token, proxy, chosen.get("namespace") or "default", cluster.get("tls-server-name"))


async def run_plugin(plugin: Section) -> tuple[Section, float]:
    """Run a credential plugin: its ExecCredential's status, and the monotonic time when that expires."""
    command = [plugin.get("command", ""), *(plugin.get("args") or [])]
    version = plugin.get("apiVersion", "client.authentication.k8s.io/v1")
    info = {"apiVersion": version, "kind": "ExecCredential", "spec": {"interactive": False}}
    extra = {pair["name"]: pair["value"] for pair in plugin.get("env") or []}
    output = await _output_of(command, {**os.environ, **extra, "KUBERNETES_EXEC_INFO": orjson.dumps(info).decode()})
    try:
        status = orjson.loads(output)["status"]
        ends = status.get("expirationTimestamp")
        life = datetime.fromisoformat(ends).timestamp() - time.time() if ends else PLUGIN_LIFE_S
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise LoginError(f"credential plugin {command[0]!r} gave no ExecCredential") from error
    if not status.get("token") and not status.get("clientCertificateData"):
        raise LoginError(f"credential plugin {command[0]!r} gave neither a token nor a certificate")
    return status, time.monotonic() + max(0.0, life - PLUGIN_MARGIN_S)


async def _output_of(command: list[str], environment: Mapping[str, str]) -> bytes:
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            env=environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        raise LoginError(f"credential plugin {command[0]!r} cannot be run: {error.strerror}") from error
    try:
        async with asyncio.timeout(PLUGIN_TIMEOUT_S):
            output, errors = await process.communicate()
    except TimeoutError as error:
        os.killpg(process.pid, signal.SIGKILL)  # its children hold its output open
        await process.wait()
        raise LoginError(f"credential plugin {command[0]!r} took more than {PLUGIN_TIMEOUT_S:g} s") from error
    if process.returncode:
        output_end = errors.decode(errors="replace").strip()[-500:]
        raise LoginError(f"credential plugin {command[0]!r} failed with status {process.returncode}: {output_end}")
    return output


def tls_context(authority: str, *, certificate: str = "", key: str = "", insecure: bool = False) -> ssl.SSLContext:
    """TLS with PEM texts; without an `authority`, those of the system are trusted."""
    context = ssl.create_default_context(cadata=authority or None)
    # The authorities of many clusters lack extensions that Python's strict mode requires and Go's clients do not.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if insecure:
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if certificate:
        with tempfile.TemporaryDirectory() as folder:  # OpenSSL reads a chain only from a file
            path = Path(folder, "pair.pem")
            path.touch(mode=0o600)
            path.write_text(f"{certificate}\n{key}\n", encoding="utf-8")
            context.load_cert_chain(path)
    return context


async def _token(user: Section) -> tuple[Token, Section]:
    """The user's token, and the user with the certificates that a plugin gave."""
    for refused in ("as", "as-groups", "as-uid", "username", "auth-provider"):
        if user.get(refused):
            raise LoginError(f"kubeconfig: {refused!r} of a user is not supported; use a token or a client certificate")
    if plugin := user.get("exec"):
        status, ends = await run_plugin(plugin)
        given = dict(user)
        for ours, theirs in (("client-certificate", "clientCertificateData"), ("client-key", "clientKeyData")):
            if status.get(theirs):
                given[f"{ours}-data"] = base64.b64encode(status[theirs].encode()).decode()
        return Token(status.get("token", ""), plugin=plugin, expires=ends), given
    if file := user.get("tokenFile"):
        return Token(file=Path(file)), user
    return Token(user.get("token", ""), expires=float("inf")), user


def _merged(files: list[Path]) -> dict[str, Any]:
    """As kubectl merges: the first file that names something wins. Paths in a file are relative to it."""
    paths = ("certificate-authority", "client-certificate", "client-key", "tokenFile")
    merged: dict[str, Any] = {"current-context": "", "contexts": {}, "clusters": {}, "users": {}}
    found = [file for file in files if file.exists()]
    if not found:
        raise LoginError(f"no kubeconfig at {', '.join(map(str, files))}, and this is no pod of a cluster")
    for file in found:
        try:
            config = yaml.safe_load(file.read_text(encoding="utf-8"))
        except (OSError, ValueError, yaml.YAMLError) as error:
            raise LoginError(f"{file} cannot be read: {error}") from error
        if not isinstance(config, dict):
            raise LoginError(f"{file} is no kubeconfig")
        for section in ("contexts", "clusters", "users"):
            for entry in config.get(section) or []:
                value = dict(entry.get(section[:-1]) or {})
                value |= {name: str(file.absolute().parent / value[name]) for name in paths if value.get(name)}
                merged[section].setdefault(entry.get("name"), value)
        merged["current-context"] = merged["current-context"] or config.get("current-context") or ""
    return merged


def _named(config: Section, section: str, word: str, name: str) -> Section:
    found: Section | None = config[section].get(name)
    if found is None:
        known = ", ".join(sorted(config[section])) or "none"
        raise LoginError(f"kubeconfig: there is no {word} {name!r} (there is: {known})")
    return found


def _pem(entry: Section, name: str) -> str:
    """A certificate or key, "" when there is none."""
    if data := entry.get(f"{name}-data"):
        return base64.b64decode(data).decode()
    return _text(Path(entry[name])) if entry.get(name) else ""


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise LoginError(f"{file} cannot be read: {error.strerror}") from error
