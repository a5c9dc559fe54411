"""Connections to an External database: with or without a pooler, and with which CA certificates."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from shop.operator.services import WITH_DATABASE
from tests.charts.rendering import MIGRATED_BY_JOBS, PRESETS, kind, named, template, variables

Object = dict[str, Any]
CA_FILE = "/run/database-ca/ca.crt"
SECRET_VOLUME = {"secretName": "database-ca", "defaultMode": 288, "items": [{"key": "ca.crt", "path": "ca.crt"}]}


@pytest.fixture(scope="module")
def pooled() -> tuple[Object, ...]:
    return template(*_preset())


def _preset(*more: str) -> tuple[str, ...]:
    chart, arguments = PRESETS["shop-pooler"]
    return (chart, *arguments, *more)


def pods(objects: tuple[Object, ...]) -> Iterator[tuple[str, Object]]:
    """Kind of the owner and spec of each pod with the URL of a database."""
    for one in objects:
        spec = one.get("spec", {})
        template_of = spec.get("jobTemplate", {}).get("spec", spec).get("template")
        if template_of and any(map(urls, containers(template_of["spec"]))):
            yield one["kind"], template_of["spec"]


def containers(pod: Object) -> list[Object]:
    return [*pod.get("initContainers", []), *pod["containers"]]


def urls(container: Object) -> list[str]:
    """The keys of Secrets from which the container has URLs of databases, or where it connects by itself."""
    variables = {one["name"]: one for one in container.get("env", [])}
    keys = [
        one["valueFrom"]["secretKeyRef"]["key"]
        for name, one in variables.items()
        if name == "SHOP_DATABASE_URL" or name.startswith("URL_")
    ]
    return keys or (["PGHOST"] if "PGHOST" in variables else [])


def test_services_use_the_pooler_and_jobs_the_server_itself(pooled: tuple[Object, ...]) -> None:
    found = {(owner, key) for owner, pod in pods(pooled) for one in containers(pod) for key in urls(one)}
    assert found == {("Deployment", "url"), ("Job", "url-direct"), ("Job", "PGHOST"), ("CronJob", "url-direct")}
    for noun in WITH_DATABASE:
        assert variables(pooled, noun)["SHOP_DATABASE_POOLER"] == "transaction"
        secret = named(pooled, "Secret", f"database-{noun}")["stringData"]
        assert f"@pgbouncer.example.com:6432/shop_{noun}?sslmode=verify-full" in secret["url"]
        assert f"@postgres.example.com:5432/shop_{noun}?sslmode=verify-full" in secret["url-direct"]
    assert "SHOP_DATABASE_POOLER" not in variables(pooled, "gateway")


def test_an_init_container_migrates_the_server_itself() -> None:
    values = [part for noun in WITH_DATABASE for part in ("--set", f"services.{noun}.migrations.mode=InitContainer")]
    objects = template(*_preset("--set", "restore.source=", *values))
    for deployment in kind(objects, "Deployment"):
        for migration in deployment["spec"]["template"]["spec"].get("initContainers", []):
            assert urls(migration) == ["url-direct"]


def test_every_pod_that_connects_has_the_certificates(pooled: tuple[Object, ...]) -> None:
    for _, pod in pods(pooled):
        volumes = {one["name"]: one for one in pod["volumes"]}
        assert volumes["database-ca"]["secret"] == SECRET_VOLUME
        for one in filter(urls, containers(pod)):
            assert {"name": "database-ca", "mountPath": "/run/database-ca", "readOnly": True} in one["volumeMounts"]
            assert {"name": "PGSSLROOTCERT", "value": CA_FILE} in one["env"]


def test_the_certificates_may_be_in_a_config_map() -> None:
    given = "global.database.ca.secretName=,global.database.ca.configMapName=authority,global.database.ca.key=root.pem"
    objects = template(*_preset("--set", given))
    for _, pod in pods(objects):
        (volume,) = [one for one in pod["volumes"] if one["name"] == "database-ca"]
        assert volume["configMap"] == {"name": "authority", "items": [{"key": "root.pem", "path": "ca.crt"}]}


def test_by_default_there_is_neither_pooler_nor_ca() -> None:
    objects = template("shop", "--set", ",".join(MIGRATED_BY_JOBS))
    assert {key for _, pod in pods(objects) for one in containers(pod) for key in urls(one)} == {"url", "PGHOST"}
    assert "database-ca" not in str(objects)
    assert "SHOP_DATABASE_POOLER" not in str(objects)
