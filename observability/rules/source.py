"""Reads the rules and writes them for one shop: which series they select, and where their runbooks are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from observability.rules import slo

FOLDER = Path(__file__).parent
SELECTOR = "{SHOP"
"""In an expression: the beginning of a selector, which is replaced by the labels of one shop's series."""
NAMESPACE = "{NAMESPACE"
"""The same for series that others make of a shop's namespace."""
RUNBOOKS = "RUNBOOKS"
"""In an annotation: the address of the folder of the runbooks, which a chart's value replaces."""

type Group = dict[str, Any]


def shop() -> list[Group]:
    """Every group of rules about one shop, for its selector to be filled in."""
    return [*_read("recording.yaml"), *slo.groups(), *_read("alerts.yaml")]


def operator() -> list[Group]:
    """The rules about the operator, of which a cluster has one."""
    return _read("operator.yaml")


def alerts(groups: list[Group]) -> dict[str, dict[str, Any]]:
    """The alerts of `groups` by name; a burn of one objective's budget is one name in several groups' rules."""
    return {rule["alert"]: rule for group in groups for rule in group["rules"] if "alert" in rule}


def text(groups: list[Group]) -> str:
    """The file of `groups`, each alert with the address of its runbook."""
    for rule in (rule for group in groups for rule in group["rules"] if "alert" in rule):
        rule["annotations"]["runbook_url"] = f"{RUNBOOKS}/{rule['alert']}.md"
    return yaml.dump({"groups": groups}, Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True)


def of_one_shop(rules: str, namespace: str, shop: str) -> str:
    """`rules` about the series of this shop alone."""
    chosen = f'{{namespace="{namespace}"'
    return rules.replace(SELECTOR, f'{chosen}, app_kubernetes_io_instance="{shop}"').replace(NAMESPACE, chosen)


def of_all_shops(rules: str) -> str:
    """`rules` about the series of every shop at once: they keep shops apart by the labels that they group by."""
    return rules.replace(SELECTOR, '{app_kubernetes_io_instance!=""').replace(NAMESPACE, '{namespace!=""')


def _read(name: str) -> list[Group]:
    groups: list[Group] = yaml.safe_load((FOLDER / name).read_text(encoding="utf-8"))["groups"]
    return groups


class _Dumper(yaml.SafeDumper):
    """Without anchors: two alerts of one severity share no object in the file."""

    def ignore_aliases(self, data: Any) -> bool:
        return True
