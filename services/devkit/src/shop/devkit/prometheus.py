"""A real Prometheus server in a folder of its own, for `shopctl up --observe` and for tests.

Prometheus is a program of the system, not of a Python package: `find_program` says how to get it where it is missing.
"""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from shop.devkit.processes import HOST, EmbeddedError, make_folder, write_private
from shop.devkit.stores import Store

RETENTION_S = 15 * 86_400
RETENTION_BYTES = 1 << 30
"""Whichever is reached first; blocks of two hours are deleted whole, and the current one comes on top."""
MEMORY_LIMIT = "256MiB"
"""Go's garbage collector works harder near it; it is no hard limit."""
FEATURES = "exemplar-storage"
READY_REQUEST = b"GET /-/ready HTTP/1.0\r\n\r\n"
MISSING = (
    "Prometheus is not on the PATH: install it (Debian and Ubuntu: `apt install prometheus`, macOS: `brew install"
    " prometheus`, others: https://prometheus.io/download/)"
)


def find_program(name: str = "prometheus") -> Path:
    """prometheus or promtool: on the PATH, or where `.ci/run` unpacks them; raises `EmbeddedError` without it."""
    cache = Path(os.environ.get("CLUSTER_HOME", Path.home() / ".cache" / "devcluster")) / "bin"
    found = shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), str(cache)]))
    if found is None:
        raise EmbeddedError(MISSING)
    return Path(found)


class PrometheusStore(Store):
    """One Prometheus on 127.0.0.1. Relative paths in `config` begin at `directory`; `rules` are files by name."""

    name = "prometheus"

    def __init__(
        self,
        directory: Path | str,
        config: Mapping[str, Any],
        rules: Mapping[str, str],
        *,
        port: int | None = None,
    ) -> None:
        super().__init__(directory, port=port)
        self._config = {**config, "rule_files": ["rules/*.yaml"]}
        self._rules = dict(rules)

    @property
    def url(self) -> str:
        """Of the web page and the API; there is no password."""
        return f"http://{HOST}:{self.port}"

    def prepare(self) -> None:
        super().prepare()
        folder = self.directory / "rules"
        shutil.rmtree(folder, ignore_errors=True)
        make_folder(folder)
        for name, text in self._rules.items():
            write_private(folder / f"{name}.yaml", text)
        # JSON is YAML.
        write_private(self.directory / "prometheus.yaml", json.dumps(self._config, indent=1))

    def command(self) -> list[str]:
        return [
            str(find_program()),
            "--config.file=prometheus.yaml",
            "--storage.tsdb.path=data",
            f"--storage.tsdb.retention.time={RETENTION_S}s",
            f"--storage.tsdb.retention.size={RETENTION_BYTES}B",
            f"--web.listen-address={HOST}:{self.port}",
            f"--enable-feature={FEATURES}",
            "--log.level=warn",
        ]

    def env(self) -> dict[str, str]:
        return {**super().env(), "GOMEMLIMIT": MEMORY_LIMIT}

    def is_ready(self, pid: int) -> bool:
        return b" 200 " in self._ask(READY_REQUEST)
