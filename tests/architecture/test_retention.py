"""Every table has a stated rule for how long its rows are kept."""

from __future__ import annotations

import re

import pytest

from tests.architecture.source import ROOT, package_folder, service_nouns

CREATED = re.compile(r"^CREATE TABLE (?:IF NOT EXISTS )?([a-z_.]+)", re.MULTILINE)
WITH_TABLES = [noun for noun in ("kit", *service_nouns()) if (package_folder(noun) / "migrations").is_dir()]


def listed(noun: str) -> set[str]:
    """The tables in the section of docs/retention.md about this service, or in that about every service."""
    sections = (ROOT / "docs" / "retention.md").read_text(encoding="utf-8").split("\n## ")
    title = "every service" if noun == "kit" else noun
    found = [section for section in sections if title in section.splitlines()[0].lower().replace(",", "")]
    rows = [line.split("|")[1] for section in found for line in section.splitlines() if line.startswith("|")]
    return {name for row in rows for name in re.findall(r"`([a-z_.]+)`", row)}


@pytest.mark.parametrize("noun", WITH_TABLES)
def test_each_table_has_a_rule(noun: str) -> None:
    files = (package_folder(noun) / "migrations").glob("*.sql")
    created = {name for file in files for name in CREATED.findall(file.read_text(encoding="utf-8"))}
    assert created - listed(noun) == set()
