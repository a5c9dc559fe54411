"""What a Prometheus beside a local shop gets: its targets with their labels, its configuration."""

import json
import subprocess
from pathlib import Path
from typing import Literal

import pytest
import yaml

from observability import generate
from shop.operator.errors import ShopctlError
from shop.operator.local import monitoring
from shop.operator.local.component import Component
from shop.operator.local.data_dir import DataDir
from shop.operator.local.display import welcome
from shop.operator.local.log_parser import Parser
from shop.operator.program import CHECKOUT

SERVED = 'ts=2026-11-29T18:42:49.123Z caller=head.go:755 level=warn component=tsdb msg="WAL replay"'


def component(name: str, kind: Literal["service", "store"], port: int) -> Component:
    """One that is not started."""

    def spawn() -> subprocess.Popen[bytes]:
        raise NotImplementedError

    async def ready(pid: int) -> bool:
        return True

    return Component(name=name, kind=kind, port=port, log=Path("log"), spawn=spawn, ready=ready)


def test_each_process_of_a_service_is_a_target_with_the_labels_of_a_cluster(tmp_path: Path) -> None:
    data = DataDir(tmp_path)
    components = [
        component("postgres", "store", 1),
        component("order-1", "service", 2),
        component("order-2", "service", 3),
    ]
    monitoring.write_targets(data, components)
    file = data.targets / "services.json"
    labels = {"namespace": "local", "app_kubernetes_io_instance": "shop", "app_kubernetes_io_name": "order"}
    assert json.loads(file.read_text()) == [
        {"targets": ["127.0.0.1:2"], "labels": {**labels, "pod": "order-1"}},
        {"targets": ["127.0.0.1:3"], "labels": {**labels, "pod": "order-2"}},
    ]
    monitoring.forget_targets(data)
    monitoring.forget_targets(data)
    assert not file.exists()


def test_targets_are_labelled_as_the_generated_rules_select_them() -> None:
    assert (monitoring.NAMESPACE, monitoring.SHOP) == (generate.LOCAL_NAMESPACE, generate.LOCAL_SHOP)


def test_the_configuration_by_hand_is_for_the_default_folder_and_the_generated_rules() -> None:
    written = yaml.safe_load(monitoring.CONFIG.read_text())
    folder = monitoring.CONFIG.parent
    (rules,) = written["rule_files"]
    assert (folder / rules).resolve() == monitoring.RULES
    (pattern,) = written["scrape_configs"][0]["file_sd_configs"][0]["files"]
    assert (folder / pattern).resolve().parent == CHECKOUT / ".shop" / "targets"


def test_a_given_interval_is_that_of_scrapes_and_rules() -> None:
    found = monitoring.config("../targets", 0.5)
    assert set(found["global"].values()) == {"500ms"}
    assert found["scrape_configs"][0]["file_sd_configs"] == [{"files": ["../targets/*.json"]}]
    assert set(monitoring.config("../targets")["global"].values()) == {"5s"}


def test_without_prometheus_up_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CLUSTER_HOME", str(tmp_path))
    with pytest.raises(ShopctlError) as raised:
        monitoring.check()
    assert str(raised.value).startswith("--observe: Prometheus is not on the PATH: install it (Debian and Ubuntu: `apt")
    assert str(raised.value).endswith("or start the shop without --observe")


def test_without_the_repository_up_says_what_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(monitoring, "CONFIG", tmp_path / "prometheus.yaml")
    with pytest.raises(ShopctlError, match="needs the folder observability of the repository"):
        monitoring.check()


def test_the_page_is_shown() -> None:
    admin = {"email": "a", "password_file": "p"}
    shown = welcome("http://localhost:8080", 1.0, admin, None, ".shop", pages={"prometheus": "http://127.0.0.1:9"})
    assert "  observed  http://127.0.0.1:9 (prometheus)\n" in shown


def test_a_line_of_its_log_has_a_time_and_a_level() -> None:
    entry = Parser("prometheus").entry(SERVED)
    assert entry.time is not None
    assert (entry.time.isoformat(timespec="seconds"), entry.level) == ("2026-11-29T18:42:49+00:00", "warning")
