"""Clients that have nothing but the .proto file, as docs/grpc.md shows them."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import re
import shutil
import sys
from pathlib import Path
from uuid import UUID

import pytest

from services.recommendation.tests.recommending import Shop

ROOT = Path(__file__).parents[3]
DOCUMENT = ROOT / "docs" / "grpc.md"
PROTO = Path("services", "contracts", "proto")
LIBRARIES = ("grpc", "google.protobuf", "google._upb", "typing_extensions")
"""All that a client imports."""
TIMEOUT_S = 60.0


def block(language: str, containing: str) -> str:
    """The code of the document in that language in which a text is."""
    blocks: list[str] = re.findall(
        rf"^```{language}\n(.*?)^```$", DOCUMENT.read_text("utf-8"), re.MULTILINE | re.DOTALL
    )
    (found,) = [one for one in blocks if containing in one]
    return found


async def run(*command: str, folder: Path, **environment: str) -> str:
    """What a command prints; it succeeds."""
    pipe = asyncio.subprocess.PIPE
    programs = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    process = await asyncio.create_subprocess_exec(
        *command, cwd=folder, env={"PATH": programs, **environment}, stdout=pipe, stderr=pipe
    )
    out, err = await asyncio.wait_for(process.communicate(), TIMEOUT_S)
    assert process.returncode == 0, err.decode()
    return out.decode()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the .proto files and the libraries, and nothing of the project."""
    (tmp_path / PROTO).parent.mkdir(parents=True)
    (tmp_path / PROTO).symlink_to(ROOT / PROTO)
    for name in LIBRARIES:
        found = importlib.util.find_spec(name)
        assert found
        folders = found.submodule_search_locations
        place = Path(next(iter(folders)) if folders else found.origin or "")
        link = tmp_path / "libraries" / Path(*name.split(".")).with_suffix(place.suffix)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(place)
    return tmp_path


async def sold(shop: Shop, user: UUID) -> list[UUID]:
    """Two books, one of which the customer bought; somebody else bought both."""
    one, other = await shop.products.add("Middlemarch"), await shop.products.add("Emma")
    await shop.catalogue_is_read()
    await shop.buy(UUID(int=user.int ^ 1), one, other)
    await shop.buy(user, one)
    return [one, other]


async def test_python_client_of_the_documentation(shop: Shop, user: UUID, folder: Path) -> None:
    await sold(shop, user)
    (folder / "client").mkdir()
    await run("sh", "-ec", block("sh", "grpc_tools.protoc"), folder=folder)
    (folder / "recommend.py").write_text(block("python", "RecommendationsStub"), encoding="utf-8")
    token = shop.tokens.customer(user)[1]
    path = os.pathsep.join(str(folder / name) for name in ("client", "libraries"))
    only = (
        "import sys, runpy; assert not any('site-packages' in one for one in sys.path); runpy.run_path('recommend.py')"
    )
    out = await run(sys.executable, "-S", "-c", only, shop.replica.address, token, folder=folder, PYTHONPATH=path)
    assert re.fullmatch(r"\d+\.\d\d  Emma  \(.*Middlemarch.*\)\n", out)


async def test_grpcurl_of_the_documentation(shop: Shop, user: UUID, folder: Path) -> None:
    if not shutil.which("grpcurl"):
        pytest.skip("grpcurl is not installed: go install github.com/fullstorydev/grpcurl/cmd/grpcurl@latest")
    await sold(shop, user)
    token = shop.tokens.customer(user)[1]
    script = block("sh", "grpcurl -plaintext")
    out = await run("sh", "-ec", script, folder=folder, ADDRESS=shop.replica.address, TOKEN=token)
    assert "shop.recommendation.v1.Recommendations\n" in out
    assert '"title": "Emma"' in out
