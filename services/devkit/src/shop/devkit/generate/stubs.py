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

PROTO = "proto"
PACKAGE = Path("shop") / "contracts" / "grpc"
FOLDER = Path(SERVICES) / "contracts" / "src" / PACKAGE
PATTERN = "*_pb2*"
"""Of the generated files in FOLDER."""
PLUGINS = ("mypy", "mypy_grpc")


def stubs(root: Path, manifests: Manifests) -> dict[str, str]:
    """The generated files by path from the project's folder; ManifestError for a .proto file that is wrong."""
    found: dict[str, str] = {}
    for noun, manifest in manifests.items():
        protos = sorted((root / SERVICES / noun / PROTO).glob("*.proto"))
        if bool(protos) != bool(manifest.grpc_port):
            raise ManifestError(f"{SERVICES}/{noun}/{FILE}: {TABLE}.grpc-port: goes together with files in {PROTO}/")
        for proto in protos:
            if not re.fullmatch(rf"{noun}_v[1-9]\.proto", proto.name):
                raise ManifestError(f"{proto.relative_to(root)}: its name must be {noun}_v1.proto, for version 1")
            found |= {(FOLDER / name).as_posix(): text for name, text in _compiled(root, proto).items()}
    return found


def stale(root: Path, current: dict[str, str]) -> list[Path]:
    """Generated files whose .proto file is gone."""
    return [path for path in sorted((root / FOLDER).glob(PATTERN)) if path.relative_to(root).as_posix() not in current]


def _compiled(root: Path, proto: Path) -> dict[str, str]:
    from grpc_tools import protoc

    programs = Path(sys.executable).parent
    with tempfile.TemporaryDirectory() as made:
        outputs = [f"--{kind}_out={made}" for kind in ("python", "grpc_python", *PLUGINS)]
        compile_protos: Callable[[list[str]], int] = protoc.main
        code = compile_protos(
            [
                "protoc",
                f"--proto_path={PACKAGE.as_posix()}={proto.parent}",
                f"--proto_path={resources.files('grpc_tools') / '_proto'}",
                *(f"--plugin=protoc-gen-{name}={programs / f'protoc-gen-{name}'}" for name in PLUGINS),
                *(f"--{name}_opt=quiet" for name in PLUGINS),
                *outputs,
                (PACKAGE / proto.name).as_posix(),
            ]
        )
        if code:
            raise ManifestError(f"{proto.relative_to(root)}: protoc refuses it")
        return {path.name: path.read_text(encoding="utf-8") for path in Path(made).rglob(PATTERN)}
