"""What the documents name exists: files, links, commands, decision records."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from shop.devkit import manifest
from tests.architecture.source import ROOT, SERVICES_FOLDER

DOCUMENTS = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *SERVICES_FOLDER.glob("*/README.md")])
LINK = re.compile(r"\]\((?!https?:|#)([^)#\s]+)")
NAMED_PATH = re.compile(r"`((?:tests|services|k8s|docs)/[\w./-]+)`")
MAKE_TARGET = re.compile(r"(?:`|^ {4})make ([a-z0-9-]+)", re.MULTILINE)
WITH_COMMANDS = sorted(
    [*(ROOT / "k8s").rglob("*.md"), *(ROOT / "k8s").rglob("*.yaml"), *(ROOT / "charts").glob("*/README.md")]
)
PLAIN_SHOPCTL = re.compile(r"uv run shopctl|`shopctl [a-z].*|^ {4}(?:\$ )?shopctl [a-z].*", re.MULTILINE)
LONGEST_README_LINES = 60


def name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_link_targets_exist(document: Path) -> None:
    links = LINK.findall(document.read_text(encoding="utf-8"))
    assert not [link for link in links if not (document.parent / link).exists()]


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_named_files_exist(document: Path) -> None:
    paths = NAMED_PATH.findall(document.read_text(encoding="utf-8"))
    assert not [path for path in paths if not ((ROOT / path).exists() or (document.parent / path).exists())]


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_named_commands_exist(document: Path) -> None:
    targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    assert set(MAKE_TARGET.findall(document.read_text(encoding="utf-8"))) <= targets


@pytest.mark.parametrize("document", [*DOCUMENTS, *WITH_COMMANDS], ids=name)
def test_shopctl_is_called_as_a_checkout_has_it(document: Path) -> None:
    """`shopctl` and `uv run shopctl` are not found where `make` had to fetch uv itself; the script always is."""
    assert not PLAIN_SHOPCTL.findall(document.read_text(encoding="utf-8"))


def test_every_decision_is_listed() -> None:
    folder = ROOT / "docs" / "adr"
    listed = set(LINK.findall((folder / "README.md").read_text(encoding="utf-8")))
    assert listed == {path.name for path in folder.glob("[0-9]*.md")}


SEQUENCES = {"## One order": "saga.py", "### An order of food": "food_saga.py"}
"""Headings in docs/architecture.md over a sequence diagram, and the file of the order service with its steps."""
PARTICIPANT = re.compile(r"^ {4}participant (\w+)", re.MULTILINE)
NO_SERVICE = {"relay", "nats"}


def sequence(heading: str) -> str:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").partition(f"{heading}\n")[2]
    return text.partition("sequenceDiagram\n")[2].partition("```")[0]


@pytest.mark.parametrize("heading", SEQUENCES)
def test_sequence_diagrams_have_the_steps_of_their_saga(heading: str) -> None:
    source = SERVICES_FOLDER / "order" / "src" / "shop" / "order" / SEQUENCES[heading]
    steps = set(re.findall(r'Step\(\s*"(\w+)"', source.read_text(encoding="utf-8")))
    assert len(steps) >= 3
    assert {step for step in steps if not re.search(rf"order->>\w+: {step}\b", sequence(heading))} == set()


def test_sequence_diagrams_have_the_services_that_take_part() -> None:
    services = manifest.read(ROOT)
    drawn = {heading: set(PARTICIPANT.findall(sequence(heading))) for heading in SEQUENCES}
    assert all(found - NO_SERVICE <= services.keys() for found in drawn.values())
    assert set(services["order"].calls) <= set().union(*drawn.values())


def test_the_table_of_modules_has_every_module() -> None:
    section = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").partition("\n## Modules\n")[2]
    listed = re.findall(r"^\| `(\w+)` \|", section.partition("\n## ")[0], re.MULTILINE)
    modules = {module for service in manifest.read(ROOT).values() for module in service.modules}
    assert sorted(listed) == sorted(modules - {manifest.CORE})


def test_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= LONGEST_README_LINES


def commands() -> list[str]:
    """Every line of a document or script that calls helm, and its continuations."""
    texts = [path.read_text(encoding="utf-8").replace("\\\n", " ") for path in {*INSTALLING, *DOCUMENTS}]
    return [
        line.strip()
        for text in texts
        for line in text.splitlines()
        if re.match(r"\s*(- )?helm (install|upgrade)", line)
    ]


SAYS_WHERE = ("image.registry=", "--values", " -f ", "--reuse-values")
OTHERS = "charts/observability"
"""It installs no image of the project."""
INSTALLING = [*sorted((ROOT / "charts").glob("*/README.md")), ROOT / "k8s" / "install.sh"]


def test_documents_and_scripts_install_the_operator_in_one_namespace() -> None:
    of_operator = [line for line in commands() if "charts/shop-operator" in line]
    namespaces = {match[1] for line in of_operator if (match := re.search(r'--namespace "?([\w$-]+)', line))}
    assert len(of_operator) >= 3
    assert namespaces == {"shop-operator", "$namespace"}
    assert "${NAMESPACE:-shop-operator}" in (ROOT / "k8s" / "install.sh").read_text(encoding="utf-8")


def test_every_documented_installation_says_where_the_images_are() -> None:
    without = [line for line in commands() if not any(part in line for part in SAYS_WHERE) and OTHERS not in line]
    assert without == []
