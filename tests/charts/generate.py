"""Write the generated files of the charts: `python -m tests.charts.generate`.

READMEs' tables and schemas' descriptions follow from values.yaml, the Shop's definition from its models, and the
golden renders from the charts. Look at what `git diff` then shows before you commit it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from shop.operator.resource import crd, rbac
from tests.charts import described
from tests.charts.rendering import CHARTS, PRESETS, golden_text

GOLDEN = Path(__file__).parent / "golden"
NAMES = ("service", "shop", "shop-operator", "observability")


DOCUMENTS: dict[Path, Callable[[], str]] = {
    **{CHARTS / name / "README.md": partial(described.readme, CHARTS / name) for name in NAMES},
    **{CHARTS / name / "values.schema.json": partial(described.schema, CHARTS / name) for name in NAMES},
    CHARTS / "shop-operator" / "files" / "crd.yaml": crd.text,
    CHARTS / "shop-operator" / "files" / "rules.yaml": rbac.text,
}
"""Every generated file of the charts and the function that generates its text."""


def documents() -> Iterator[tuple[Path, str]]:
    """Every generated file of the charts and its text."""
    for path, text in DOCUMENTS.items():
        yield path, text()


def goldens() -> Iterator[tuple[Path, str]]:
    """Every golden file and its text; needs helm."""
    for name in PRESETS:
        yield GOLDEN / f"{name}.yaml", golden_text(name)


def main() -> None:
    """Write the files, documents first: a render depends on the schemas."""
    for files in (documents(), goldens()):
        for path, text in files:
            path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
