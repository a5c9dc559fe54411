"""Writes what follows from the rules and dashboards: `python -m observability.generate`.

Helm reads only files of a chart's own folder, so each chart has its copy, whose placeholders its templates fill in. The
files in `generated` are for a Prometheus and a Grafana without Helm, such as those of a laptop.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from observability import dashboards
from observability.dashboards.common import TAG, UID_OF
from observability.rules import source

ROOT = Path(__file__).parents[1]
SHOP_FILES = ROOT / "charts" / "shop" / "files"
OPERATOR_FILES = ROOT / "charts" / "shop-operator" / "files"
STACK_FILES = ROOT / "charts" / "observability" / "files"
COLLECTOR = ROOT / "observability" / "collector"
GENERATED = ROOT / "observability" / "generated"
LOCAL_NAMESPACE, LOCAL_SHOP = "local", "shop"
"""Labels that `prometheus/prometheus.yaml` gives the series of a shop on this machine."""
TAG_HERE = "shopkeeper"
"""Tag, and beginning of the uids, of dashboards that are imported by hand."""
HEAD = "# Written by `make generate` from observability/rules; edit those instead.\n"


def files() -> dict[Path, str]:
    """Every generated file and its text."""
    return {**dict(_rules()), **dict(_dashboards()), **dict(_collector())}


def _rules() -> Iterator[tuple[Path, str]]:
    shop, operator = HEAD + source.text(source.shop()), HEAD + source.text(source.operator())
    local = source.of_one_shop(shop, LOCAL_NAMESPACE, LOCAL_SHOP)
    yield SHOP_FILES / "rules" / "shop.yaml", shop
    yield OPERATOR_FILES / "alerts.yaml", operator
    yield STACK_FILES / "rules" / "shops.yaml", source.of_all_shops(shop)
    yield STACK_FILES / "rules" / "operator.yaml", operator
    runbooks = "observability/runbooks"
    yield GENERATED / "rules" / "shop.yaml", local.replace(source.RUNBOOKS, runbooks)
    yield GENERATED / "rules" / "operator.yaml", operator.replace(source.RUNBOOKS, runbooks)


def _dashboards() -> Iterator[tuple[Path, str]]:
    for name, board in dashboards.models().items():
        text = json.dumps(board, indent=1, ensure_ascii=False) + "\n"
        packed = json.dumps(board, separators=(",", ":"), ensure_ascii=False) + "\n"
        yield GENERATED / "dashboards" / f"{name}.json", _of_all(text)
        yield STACK_FILES / "dashboards" / f"{name}.json", _of_all(packed)
        for chart, names in ((SHOP_FILES, dashboards.OF_SHOP), (OPERATOR_FILES, dashboards.OF_OPERATOR)):
            if name in names:
                yield chart / "dashboards" / f"{name}.json", packed


def _of_all(board: str) -> str:
    return board.replace(UID_OF, f"{TAG_HERE}-").replace(TAG, TAG_HERE)


def _collector() -> Iterator[tuple[Path, str]]:
    for path in sorted(COLLECTOR.glob("*.yaml")):
        yield STACK_FILES / "collector" / path.name, path.read_text(encoding="utf-8")


def superfluous() -> list[Path]:
    """Files in the folders of generated ones that nothing writes any more."""
    known = files()
    folders = {path.parent for path in known if path.parent.name in ("rules", "dashboards", "collector")}
    return sorted(path for folder in folders for path in folder.glob("*") if path not in known)


def main() -> None:
    for path, text in files().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    for path in superfluous():
        path.unlink()


if __name__ == "__main__":
    main()
