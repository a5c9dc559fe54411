"""A service cannot open another service's database, even when it tries."""

from __future__ import annotations

import itertools

import asyncpg
import pytest

from shop.devkit.testing import DatabaseFor
from tests.architecture.source import package_folder, service_nouns

WITH_DATABASE = [noun for noun in service_nouns() if (package_folder(noun) / "migrations").is_dir()]


def database_of(url: str) -> str:
    return url.rpartition("/")[2]


async def user_of(url: str) -> str:
    connection = await asyncpg.connect(url)
    try:
        return str(await connection.fetchval("SELECT current_user"))
    finally:
        await connection.close()


async def test_each_service_has_its_own_role(database_for: DatabaseFor) -> None:
    roles = {noun: await user_of(await database_for(noun)) for noun in WITH_DATABASE}
    assert roles == {noun: f"shop_{noun}" for noun in WITH_DATABASE}


async def test_no_service_reaches_the_database_of_another(database_for: DatabaseFor) -> None:
    urls = {noun: await database_for(noun) for noun in WITH_DATABASE}
    for one, other in itertools.permutations(WITH_DATABASE, 2):
        with pytest.raises(asyncpg.InsufficientPrivilegeError, match="permission denied for database"):
            await asyncpg.connect(urls[one].replace(database_of(urls[one]), database_of(urls[other])))


async def test_no_service_may_make_databases_or_roles(database_for: DatabaseFor) -> None:
    for noun in WITH_DATABASE:
        connection = await asyncpg.connect(await database_for(noun))
        try:
            for statement in ("CREATE DATABASE stolen", "CREATE ROLE intruder"):
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await connection.execute(statement)
        finally:
            await connection.close()
