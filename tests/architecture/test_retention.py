"""Every table has a stated rule for how long its rows are kept."""

from __future__ import annotations

import re

import pytest

from tests.architecture.source import ROOT, package_folder, service_folder, service_nouns

CREATED = re.compile(r"^CREATE TABLE (?:IF NOT EXISTS )?([a-z_.]+)", re.MULTILINE)
WITH_TABLES = [noun for noun in ("kit", *service_nouns()) if (package_folder(noun) / "migrations").is_dir()]
OWN_SECTION = "What is kept"


def sections(noun: str) -> list[str]:
    """Those of docs/retention.md about this service, or about every service; and that of the service's own README."""
    common = (ROOT / "docs" / "retention.md").read_text(encoding="utf-8").split("\n## ")
    readme = service_folder(noun) / "README.md"
    own = readme.read_text(encoding="utf-8").split("\n## ") if readme.exists() else []
    title = "every service" if noun == "kit" else noun
    found = [section for section in common if title in section.splitlines()[0].lower()]
    return found + [section for section in own if section.startswith(OWN_SECTION)]


@pytest.mark.parametrize("noun", WITH_TABLES)
def test_each_table_has_a_rule(noun: str) -> None:
    files = (package_folder(noun) / "migrations").glob("*.sql")
    created = {name for file in files for name in CREATED.findall(file.read_text(encoding="utf-8"))}
    rows = [line.split("|")[1] for section in sections(noun) for line in section.splitlines() if line.startswith("|")]
    assert created - {name for row in rows for name in re.findall(r"`([a-z_.]+)`", row)} == set()
