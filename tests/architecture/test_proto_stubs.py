"""The Python of the .proto files in shop.contracts, which `make generate` writes."""

from __future__ import annotations

from pathlib import Path

import pytest

from shop.devkit import manifest
from shop.devkit.generate import stubs


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("shop/order/v1/orders.proto", "", r"orders\.proto: its path must be shop/order/v1/order\.proto"),
        ("shop/order/order.proto", "", r"its path must be shop/order/v1/order\.proto"),
        ("shop/order/v1/order.proto", "this is no proto", r"order\.proto: protoc refuses it"),
        ("", "", "grpc-port: goes together with services/contracts/proto/shop/order/v1/order.proto"),
    ],
)
def test_wrong_proto_is_an_error_that_names_it(tmp_path: Path, name: str, text: str, message: str) -> None:
    folder = tmp_path / "services" / "order"
    folder.mkdir(parents=True)
    (folder / "pyproject.toml").write_text('[tool.shop]\nmodules = ["retail"]\ngrpc-port = 50051\n', encoding="utf-8")
    if name:
        (tmp_path / stubs.PROTO / name).parent.mkdir(parents=True)
        (tmp_path / stubs.PROTO / name).write_text(text, encoding="utf-8")
    with pytest.raises(manifest.ManifestError, match=message):
        stubs.stubs(tmp_path, manifest.read(tmp_path))
