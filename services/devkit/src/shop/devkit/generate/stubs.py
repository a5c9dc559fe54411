"""Python of the services' .proto files, for the service itself and for those that call it.

protoc writes it into shop.contracts.grpc; only services with the extra shop-kit[grpc] can import it.
"""

from __future__ import annotations

import re
import sys
import tempfile
from collections.abc import Callable
from importlib import resources
from pathlib import Path

from shop.devkit.manifest import FILE, SERVICES, TABLE, ManifestError, Manifests

PROTO = Path(SERVICES) / "contracts" / "proto"
"""Below it, a file's path is its package: shop/order/v1/order.proto."""
PACKAGE = Path("shop") / "contracts" / "grpc"
FOLDER = Path(SERVICES) / "contracts" / "src" / PACKAGE
PATTERN = "*_pb2*"
"""Of the generated files in FOLDER."""
PLUGINS = ("mypy", "mypy_grpc")


def proto_files(root: Path) -> list[Path]:
    return sorted((root / PROTO).rglob("*.proto"))


def services(root: Path, noun: str) -> list[str]:
    """Full names of the gRPC services of ``noun``, such as shop.order.v1.Orders."""
    found = []
    for proto in sorted((root / PROTO / "shop" / noun).glob("v*/*.proto")):
        text = proto.read_text(encoding="utf-8")
        package = re.search(r"^package ([\w.]+);", text, re.MULTILINE)
        names = re.findall(r"^service (\w+)", text, re.MULTILINE)
        found += [f"{package[1]}.{name}" for name in names if package]
    return found


def stubs(root: Path, manifests: Manifests) -> dict[str, str]:
    """The generated files by path from the project's folder; ManifestError for a .proto file that is wrong."""
    found: dict[str, str] = {}
    nouns = set()
    for proto in proto_files(root):
        noun, version = _noun_and_version(root, proto)
        nouns.add(noun)
        found |= {(FOLDER / name).as_posix(): text for name, text in _compiled(root, proto, noun, version).items()}
    for noun, manifest in manifests.items():
        if (noun in nouns) != bool(manifest.grpc_port):
            raise ManifestError(
                f"{SERVICES}/{noun}/{FILE}: {TABLE}.grpc-port: goes together with {PROTO}/shop/{noun}/v1/{noun}.proto"
            )
    return found


def _noun_and_version(root: Path, proto: Path) -> tuple[str, str]:
    path = proto.relative_to(root / PROTO).as_posix()
    found = re.fullmatch(r"shop/([a-z]+)/(v[1-9])/\1\.proto", path)
    if found is None:
        raise ManifestError(
            f"{proto.relative_to(root)}: its path must be shop/order/v1/order.proto for version 1 of order"
        )
    return found[1], found[2]


def stale(root: Path, current: dict[str, str]) -> list[Path]:
    """Generated files whose .proto file is gone."""
    return [path for path in sorted((root / FOLDER).glob(PATTERN)) if path.relative_to(root).as_posix() not in current]


def _compiled(root: Path, proto: Path, noun: str, version: str) -> dict[str, str]:
    """protoc names modules after packages, and shop.order is the service's own; so its modules get other names here."""
    from grpc_tools import protoc

    programs = Path(sys.executable).parent
    with tempfile.TemporaryDirectory() as made:
        outputs = [f"--{kind}_out={made}" for kind in ("python", "grpc_python", *PLUGINS)]
        compile_protos: Callable[[list[str]], int] = protoc.main
        code = compile_protos(
            [
                "protoc",
                f"--proto_path={root / PROTO}",
                f"--proto_path={resources.files('grpc_tools') / '_proto'}",
                *(f"--plugin=protoc-gen-{name}={programs / f'protoc-gen-{name}'}" for name in PLUGINS),
                *(f"--{name}_opt=quiet" for name in PLUGINS),
                *outputs,
                proto.relative_to(root / PROTO).as_posix(),
            ]
        )
        if code:
            raise ManifestError(f"{proto.relative_to(root)}: protoc refuses it")
        made_by_name = {path.name: path.read_text(encoding="utf-8") for path in Path(made).rglob(PATTERN)}
    return {
        name.replace(f"{noun}_pb2", f"{noun}_{version}_pb2"): _in_package(text, noun, version)
        for name, text in made_by_name.items()
    }


def _in_package(text: str, noun: str, version: str) -> str:
    package, module = f"shop.{noun}.{version}", f"{noun}_pb2"
    of_contracts = ".".join(PACKAGE.parts)
    return text.replace(
        f"from {package} import {module} as", f"from {of_contracts} import {noun}_{version}_pb2 as"
    ).replace(f"{package}.{module}", f"{of_contracts}.{noun}_{version}_pb2")
