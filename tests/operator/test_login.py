"""Every way to log in: kubeconfigs as people have them, credential plugins, a pod's service account."""

from __future__ import annotations

import base64
import json
import os
import stat
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from shop.operator.kube import login
from shop.operator.kube.api_errors import ApiError, Unreachable
from shop.operator.kube.client import Kube
from shop.operator.kube.kinds import CONFIG_MAP, Kind
from shop.operator.kube.login import LoginError
from tests.operator.apiserver import ApiServer

ACCOUNT = Kind("v1", "ServiceAccount", "serviceaccounts")
BINDING = Kind("rbac.authorization.k8s.io/v1", "RoleBinding", "rolebindings")
TOKEN_S = 3600


def kubeconfig(folder: Path, *, name: str = "config", context: str = "here", **parts: Any) -> Path:
    """A kubeconfig; `cluster` and `user` are its sections."""
    cluster = {"server": "https://example.invalid", **parts.get("cluster", {})}
    config = {
        "current-context": parts.get("current", context),
        "contexts": [{"name": context, "context": {"cluster": "c", "user": "u", "namespace": parts.get("namespace")}}],
        "clusters": [{"name": "c", "cluster": cluster}],
        "users": [{"name": "u", "user": parts.get("user", {})}],
    }
    path = folder / name
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    return path


def plugin(folder: Path, text: str) -> str:
    """A credential plugin that runs `text` in a shell."""
    path = folder / "plugin"
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def credential(**status: str) -> str:
    return f"echo '{json.dumps({'kind': 'ExecCredential', 'status': status})}'"


async def token_of(api: Kube, namespace: str, name: str) -> str:
    """A fresh token of a service account that may do everything in its namespace."""
    metadata = {"name": name, "namespace": namespace}
    await api.apply(ACCOUNT, {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}, force=True)
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}
    subject = {"kind": "ServiceAccount", "name": name, "namespace": namespace}
    binding = {"apiVersion": BINDING.api_version, "kind": BINDING.kind, "roleRef": role, "subjects": [subject]}
    await api.apply(BINDING, {**binding, "metadata": metadata}, force=True)
    request = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "metadata": metadata,
        "spec": {"expirationSeconds": TOKEN_S},
    }
    tokens = Kind("v1", "TokenRequest", f"serviceaccounts/{name}/token")
    token: str = (await api.create(tokens, request))["status"]["token"]
    return token


def authority(server: ApiServer) -> str:
    return base64.b64encode(server.authority.path.read_bytes()).decode()


async def reads(kube: Kube, namespace: str) -> bool:
    return await kube.list(CONFIG_MAP, namespace) == []


async def test_files_beside_the_kubeconfig(api: Kube, apiserver: ApiServer, namespace: str, tmp_path: Path) -> None:
    certificate, key = apiserver.authority.issue("someone", ["system:masters"])
    for name, path in {"ca.crt": apiserver.authority.path, "a.crt": certificate, "a.key": key}.items():
        (tmp_path / name).write_bytes(path.read_bytes())
    config = kubeconfig(
        tmp_path,
        cluster={"server": f"{apiserver.url}/", "certificate-authority": "ca.crt"},
        user={"client-certificate": "a.crt", "client-key": "a.key"},
        namespace="shops",
    )
    async with Kube(config) as kube:
        assert await reads(kube, namespace)
        assert (kube.server, kube.namespace) == (apiserver.url, "shops")


async def test_a_token_and_a_server_that_is_not_checked(
    api: Kube, apiserver: ApiServer, namespace: str, tmp_path: Path
) -> None:
    cluster = {"server": apiserver.url, "insecure-skip-tls-verify": True}
    user = {"token": await token_of(api, namespace, "reader")}
    async with Kube(kubeconfig(tmp_path, cluster=cluster, user=user)) as kube:
        assert await reads(kube, namespace)
    async with Kube(kubeconfig(tmp_path, cluster=cluster, user={"token": "wrong"})) as kube:
        with pytest.raises(ApiError) as caught:
            await reads(kube, namespace)
        assert caught.value.status == 401


async def test_the_certificate_must_be_the_servers(apiserver: ApiServer, tmp_path: Path) -> None:
    known = {"server": apiserver.url, "certificate-authority-data": authority(apiserver)}
    async with Kube(kubeconfig(tmp_path, cluster={"server": apiserver.url})) as kube:
        kube.attempts = 1
        with pytest.raises(Unreachable, match="certificate verify failed"):
            await kube.served("v1")
    async with Kube(kubeconfig(tmp_path, cluster={**known, "tls-server-name": "elsewhere"})) as kube:
        kube.attempts = 1
        with pytest.raises(Unreachable, match="elsewhere"):
            await kube.served("v1")
    async with Kube(kubeconfig(tmp_path, cluster={**known, "tls-server-name": "localhost"})) as kube:
        with pytest.raises(ApiError, match="anonymous"):
            await kube.served("apps/v1")


async def test_a_plugin_gives_the_token(api: Kube, apiserver: ApiServer, namespace: str, tmp_path: Path) -> None:
    token = await token_of(api, namespace, "reader")
    command = plugin(tmp_path, f'[ "$1$EXTRA" = ab ] && test -n "$KUBERNETES_EXEC_INFO" && {credential(token=token)}')
    run = {"command": command, "args": ["a"], "env": [{"name": "EXTRA", "value": "b"}]}
    cluster = {"server": apiserver.url, "certificate-authority-data": authority(apiserver)}
    async with Kube(kubeconfig(tmp_path, cluster=cluster, user={"exec": run})) as kube:
        assert await reads(kube, namespace)


async def test_a_plugin_is_asked_again_when_its_token_ends(
    api: Kube, apiserver: ApiServer, namespace: str, tmp_path: Path
) -> None:
    token = await token_of(api, namespace, "reader")
    text = f"echo run >>{tmp_path}/runs\n{credential(token=token, expirationTimestamp='2000-01-01T00:00:00Z')}"
    cluster = {"server": apiserver.url, "certificate-authority-data": authority(apiserver)}
    config = kubeconfig(tmp_path, cluster=cluster, user={"exec": {"command": plugin(tmp_path, text)}})
    async with Kube(config) as kube:
        assert await reads(kube, namespace)
    assert (tmp_path / "runs").read_text().split() == ["run", "run"]


async def test_a_plugin_gives_a_certificate(apiserver: ApiServer, namespace: str, tmp_path: Path) -> None:
    certificate, key = apiserver.authority.issue("someone", ["system:masters"])
    pair = {"clientCertificateData": certificate.read_text(), "clientKeyData": key.read_text()}
    (tmp_path / "answer").write_text(json.dumps({"status": pair}))
    cluster = {"server": apiserver.url, "certificate-authority-data": authority(apiserver)}
    command = plugin(tmp_path, f"cat {tmp_path}/answer")
    async with Kube(kubeconfig(tmp_path, cluster=cluster, user={"exec": {"command": command}})) as kube:
        assert await reads(kube, namespace)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("echo 'not logged in' >&2; exit 3", "failed with status 3: not logged in"),
        ("echo nonsense", "gave no ExecCredential"),
        ("echo '[]'", "gave no ExecCredential"),
        (credential(), "neither a token nor a certificate"),
        ("sleep 60", "took more than 0.2 s"),
    ],
)
async def test_a_plugin_that_fails_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, words: str
) -> None:
    monkeypatch.setattr(login, "PLUGIN_TIMEOUT_S", 0.2 if text.startswith("sleep") else 20)
    config = kubeconfig(tmp_path, user={"exec": {"command": plugin(tmp_path, text)}})
    with pytest.raises(LoginError, match=words):
        await login.find(config)


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"user": {"exec": {"command": "/no/such/plugin"}}}, "'/no/such/plugin' cannot be run: No such file"),
        ({"user": {"as": "root"}}, "'as' of a user is not supported"),
        ({"user": {"auth-provider": {"name": "gcp"}}}, "'auth-provider' of a user is not supported"),
        ({"user": {"username": "a", "password": "b"}}, "'username' of a user is not supported"),
        ({"user": {"client-certificate-data": "eA==", "client-key-data": "eA=="}}, "certificate or key cannot be read"),
        ({"user": {"client-certificate": "missing.crt"}}, "missing.crt cannot be read: No such file"),
        ({"cluster": {"certificate-authority-data": "eA=="}}, "certificate or key cannot be read"),
        ({"cluster": {"proxy-url": "socks5://proxy"}}, "only http and https proxies"),
        ({"cluster": {"server": ""}}, "has no server"),
        ({"current": ""}, "there is no context ''"),
    ],
)
async def test_what_cannot_be_used_is_refused_with_a_sentence(
    tmp_path: Path, parts: dict[str, Any], words: str
) -> None:
    with pytest.raises(LoginError, match=words):
        await login.find(kubeconfig(tmp_path, **parts))


@pytest.mark.parametrize("text", ["", "[1]", "a: [", "\x00"])
async def test_a_broken_kubeconfig_is_reported(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config"
    path.write_text(text)
    with pytest.raises(LoginError, match=str(path)):
        await login.find(path)


async def test_the_proxy_of_a_kubeconfig_is_used(tmp_path: Path) -> None:
    config = kubeconfig(tmp_path, cluster={"proxy-url": "http://127.0.0.1:9"})
    assert (await login.find(config)).proxy == "http://127.0.0.1:9"
    async with Kube(config) as kube:
        kube.attempts = 1
        with pytest.raises(Unreachable, match=r"127\.0\.0\.1:9"):
            await kube.served("v1")


async def test_several_kubeconfigs_are_merged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty").write_text("{}")
    one = kubeconfig(tmp_path, name="one", context="first", cluster={"server": "https://one.invalid"})
    two = kubeconfig(tmp_path, name="two", context="second", cluster={"server": "https://two.invalid"})
    files = [tmp_path / "missing", tmp_path / "empty", one, two]
    monkeypatch.setenv("KUBECONFIG", os.pathsep.join(map(str, files)))
    assert (await login.find()).server == "https://one.invalid"
    assert (await login.find(context="second")).server == "https://one.invalid"  # its cluster has the first one's name
    with pytest.raises(LoginError, match=r"no context 'third' \(there is: first, second\)"):
        await login.find(context="third")


async def test_without_any_kubeconfig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KUBECONFIG", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(LoginError, match=r"no kubeconfig at .*\.kube/config"):
        await login.find()


async def test_a_pod_logs_in_with_its_account_and_follows_a_new_token(
    api: Kube, apiserver: ApiServer, namespace: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "ca.crt").write_bytes(apiserver.authority.path.read_bytes())
    (tmp_path / "namespace").write_text(namespace)
    (tmp_path / "token").write_text("an old one\n")
    monkeypatch.delenv("KUBECONFIG", raising=False)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "127.0.0.1")
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(apiserver.port))
    monkeypatch.setattr(login.in_cluster, "__defaults__", (tmp_path,))
    async with Kube() as kube:
        assert kube.namespace == namespace
        with pytest.raises(ApiError, match="Unauthorized"):
            await reads(kube, namespace)
        (tmp_path / "token").write_text(await token_of(api, namespace, "reader"))
        assert await reads(kube, namespace)  # the refusal made it look again
        (tmp_path / "token").unlink()
        assert await reads(kube, namespace)


async def test_a_token_file_is_read_again_after_a_while(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    token = login.Token(file=tmp_path / "token")
    (tmp_path / "token").write_text("one")
    assert await token.current() == "one"
    (tmp_path / "token").write_text("two")
    assert await token.current() == "one"
    later = time.monotonic() + login.TOKEN_LIFE_S
    monkeypatch.setattr(time, "monotonic", lambda: later)
    assert await token.current() == "two"


async def test_a_process_outside_a_pod_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "::1")
    with pytest.raises(LoginError, match="this is no pod with a service account"):
        login.in_cluster(tmp_path)
    for name in ("token", "ca.crt", "namespace"):
        (tmp_path / name).write_text("")
    assert login.in_cluster(tmp_path).server == "https://[::1]:443"
