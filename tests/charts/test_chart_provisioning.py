"""The SQL of the provisioning Job, run by psql on a real server."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pytest

from shop.devkit import embedded
from shop.devkit.processes import package_file
from shop.operator.services import WITH_DATABASE
from tests.charts.rendering import kind, named, template

PSQL_TIMEOUT_S = 60
EXTERNAL = "database.mode=External,database.external.host=db.example.com,global.secrets.postgres=admin"
# An administrator as of managed databases: may create roles and databases, but is no superuser.
LIMITED = (
    "CREATE ROLE provision_admin LOGIN CREATEROLE CREATEDB PASSWORD 'limited'",
    "GRANT CONNECT ON DATABASE postgres TO provision_admin",
)


def psql() -> Path:
    return package_file(*embedded.POSTGRES_BIN, "psql")


def script(*values: str) -> str:
    objects = template("shop", *(part for value in values for part in ("--set", value)))
    return str(named(objects, "ConfigMap", "provision")["data"]["provision.sql"])


def provision(url: str, sql: str, password: str = "first") -> None:
    """Run `sql` as the Job does, with unique roles; fails with psql's output."""
    given = {f"ROLE_{noun.upper()}": f"provisioned_{noun}" for noun in WITH_DATABASE}
    given |= {f"PASSWORD_{noun.upper()}": f"{password}-{noun}" for noun in WITH_DATABASE}
    command = [str(psql()), "--no-psqlrc", "--quiet", "--file=-", url]
    done = subprocess.run(
        command,
        env={**os.environ, **given},
        input=sql,
        capture_output=True,
        text=True,
        timeout=PSQL_TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def url_of(admin_url: str, database: str, role: str, password: str) -> str:
    host = urlsplit(admin_url).netloc.rpartition("@")[2]
    return f"postgresql://{role}:{password}@{host}/{database}"


@pytest.fixture
def server(postgres: embedded.Server) -> Iterator[str]:
    """The URL of the test server's superuser; what the test created is dropped afterwards."""
    yield postgres.url
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        for noun in WITH_DATABASE:
            connection.execute(f"DROP DATABASE IF EXISTS shop_{noun}".encode())
            connection.execute(f"DROP ROLE IF EXISTS provisioned_{noun}".encode())
        if connection.execute("SELECT 1 FROM pg_roles WHERE rolname = 'provision_admin'").fetchone():
            connection.execute("DROP OWNED BY provision_admin")
            connection.execute("DROP ROLE provision_admin")


def test_every_service_gets_a_database_that_no_other_role_can_connect_to(server: str) -> None:
    provision(server, script())
    for noun in WITH_DATABASE:
        with psycopg.connect(url_of(server, f"shop_{noun}", f"provisioned_{noun}", f"first-{noun}")) as connection:
            connection.execute("CREATE TABLE own (id int)")
    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        psycopg.connect(url_of(server, "shop_order", "provisioned_payment", "first-payment"))


def test_a_second_run_changes_only_the_password(server: str) -> None:
    provision(server, script())
    with psycopg.connect(url_of(server, "shop_order", "provisioned_order", "first-order")) as connection:
        connection.execute("CREATE TABLE kept (id int)")
    provision(server, script(), password="second")
    with psycopg.connect(url_of(server, "shop_order", "provisioned_order", "second-order")) as connection:
        assert connection.execute("SELECT count(*) FROM kept").fetchone() == (0,)
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(url_of(server, "shop_order", "provisioned_order", "first-order"))


def test_an_administrator_who_is_no_superuser_suffices(server: str) -> None:
    with psycopg.connect(server, autocommit=True) as connection:
        for statement in LIMITED:
            connection.execute(statement.encode())
    limited = url_of(server, "postgres", "provision_admin", "limited")
    sql = script(EXTERNAL)
    provision(limited, sql)
    provision(limited, sql)
    with psycopg.connect(url_of(server, "shop_user", "provisioned_user", "first-user")) as connection:
        connection.execute("CREATE TABLE own (id int)")
    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        psycopg.connect(url_of(server, "shop_order", "provisioned_user", "first-user"))


def test_with_a_secret_for_every_service_nothing_is_provisioned() -> None:
    names = [f"global.secrets.database.{noun}=mine" for noun in WITH_DATABASE]
    objects = template("shop", "--set", ",".join(["database.mode=External", *names]))
    assert [job["metadata"]["name"].partition("-")[0] for job in kind(objects, "Job")] == ["catalogue"]
