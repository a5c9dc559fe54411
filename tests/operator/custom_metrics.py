"""Stand-in for prometheus-adapter: serves one metric of pods at custom.metrics.k8s.io, from a Prometheus.

It takes the adapter's options and the first rule of its configuration, whose query has the same placeholders. Where the
API server is, and who asks it, it knows from its pod, as the adapter does, or by `--server`, `--token`, `--authority`.
"""

from __future__ import annotations

import argparse
import json
import re
import ssl
import subprocess
import urllib.parse
import urllib.request
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

API = "/apis/custom.metrics.k8s.io/v1beta1"
ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
PODS = re.compile(rf"{API}/namespaces/([^/]+)/pods/\*/([^/]+)")
TIMEOUT_S = 10
DAYS_OF_CERTIFICATE = 30


class Handler(BaseHTTPRequestHandler):
    """`prometheus` and `api_server` are URLs; `metric`, `series` and `query` are the rule's."""

    prometheus = api_server = token = authority = metric = series = query = ""
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        address = urllib.parse.urlsplit(self.path)
        path = urllib.parse.unquote(address.path)
        if path in ("/livez", "/readyz"):
            return self._send({})
        if path == API:
            return self._send(self._resources())
        if (found := PODS.fullmatch(path)) and found[2] == self.metric:
            selector = urllib.parse.parse_qs(address.query).get("labelSelector", [""])[0]
            return self._send(self._values(found[1], selector))
        return self._send({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": 404}, 404)

    def _resources(self) -> Any:
        resource = {"name": f"pods/{self.metric}", "singularName": "", "namespaced": True, "kind": "MetricValueList"}
        group = API.removeprefix("/apis/")
        return {
            "kind": "APIResourceList",
            "apiVersion": "v1",
            "groupVersion": group,
            "resources": [{**resource, "verbs": ["get"]}],
        }

    def _values(self, namespace: str, selector: str) -> Any:
        pods = "|".join(self._pods(namespace, selector))
        matchers = f'namespace="{namespace}",pod=~"{pods}"'
        query = self.query.replace("<<.Series>>", self.series).replace("<<.LabelMatchers>>", matchers)
        address = (
            f"{self.prometheus}api/v1/query?{urllib.parse.urlencode({'query': query.replace('<<.GroupBy>>', 'pod')})}"
        )
        with urllib.request.urlopen(address, timeout=TIMEOUT_S) as answer:
            found = json.load(answer)["data"]["result"]
        items = [self._item(namespace, one["metric"]["pod"], float(one["value"][1])) for one in found]
        return {"kind": "MetricValueList", "apiVersion": API.removeprefix("/apis/"), "metadata": {}, "items": items}

    def _pods(self, namespace: str, selector: str) -> list[str]:
        """Names of the pods that the autoscaler asks for, by the API server."""
        query = urllib.parse.urlencode({"labelSelector": selector})
        address = f"{self.api_server}/api/v1/namespaces/{namespace}/pods?{query}"
        request = urllib.request.Request(address, headers={"Authorization": f"Bearer {self.token}"})
        trusted = ssl.create_default_context(cafile=self.authority)
        with urllib.request.urlopen(request, timeout=TIMEOUT_S, context=trusted) as answer:
            return [pod["metadata"]["name"] for pod in json.load(answer)["items"]]

    def _item(self, namespace: str, pod: str, value: float) -> Any:
        return {
            "describedObject": {"kind": "Pod", "namespace": namespace, "name": pod, "apiVersion": "/v1"},
            "metricName": self.metric,
            "timestamp": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "value": f"{value * 1000:.0f}m",
            "selector": None,
        }

    def _send(self, body: Any, status: int = 200) -> None:
        text = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


def rule(text: str, name: str, pattern: str) -> str:
    """A part of the first rule."""
    found = re.search(pattern, text)
    if found is None:
        raise SystemExit(f"the configuration has no {name} like {pattern}")
    return found[1]


def certificate(folder: Path) -> ssl.SSLContext:
    """A new one, signed by itself."""
    folder.mkdir(parents=True, exist_ok=True)
    key, cert = folder / "key.pem", folder / "cert.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=custom-metrics"]
    command += ["-days", str(DAYS_OF_CERTIFICATE), "-keyout", str(key), "-out", str(cert)]
    subprocess.run(command, check=True, capture_output=True, timeout=TIMEOUT_S)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)
    return context


def main() -> None:
    options = argparse.ArgumentParser()
    for name in ("secure-port", "cert-dir", "prometheus-url", "config"):
        options.add_argument(f"--{name}", required=True)
    options.add_argument("--bind-address", default="")
    options.add_argument("--server", default="https://kubernetes.default.svc")
    options.add_argument("--token")
    options.add_argument("--authority", default=str(ACCOUNT / "ca.crt"))
    given, _ = options.parse_known_args()
    text = Path(given.config).read_text()
    Handler.prometheus, Handler.api_server = given.prometheus_url, given.server
    Handler.token, Handler.authority = given.token or (ACCOUNT / "token").read_text(), given.authority
    Handler.series = rule(text, "seriesQuery", r"seriesQuery: (\w+)")
    Handler.metric = rule(text, "name", r"as: (\w+)")
    Handler.query = rule(text, "metricsQuery", r"metricsQuery: (.+)")
    server = ThreadingHTTPServer((given.bind_address, int(given.secure_port)), Handler)
    server.socket = certificate(Path(given.cert_dir)).wrap_socket(server.socket, server_side=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
