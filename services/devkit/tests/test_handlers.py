"""Applications of one process share what FastAPI found out about a handler, and nothing else."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, FastAPI

from shop.devkit.testing import Running

router = APIRouter()


def name() -> str:
    return "own"


@router.get("/things/{number}")
async def thing(number: int, name: Annotated[str, Depends(name)]) -> dict[str, str | int]:
    return {"number": number, "name": name}


def application() -> FastAPI:
    app = FastAPI()
    app.include_router(router)
    return app


async def test_an_application_overrides_a_dependency_for_itself_alone(running: Running) -> None:
    overridden, plain = application(), application()
    overridden.dependency_overrides[name] = lambda: "another"
    async with running(overridden) as one, running(plain) as other:
        assert (await one.get("/things/1")).json() == {"number": 1, "name": "another"}
        assert (await other.get("/things/2")).json() == {"number": 2, "name": "own"}
        assert (await other.get("/things/x")).status_code == 422


async def test_a_handler_has_the_parameters_of_each_of_its_paths(running: Running) -> None:
    app = application()
    app.add_api_route("/things", thing)
    async with running(app) as client:
        assert (await client.get("/things/1")).status_code == 200
        assert (await client.get("/things?number=3")).json()["number"] == 3
        assert (await client.get("/things")).status_code == 422


async def test_a_handler_is_read_once_for_all_applications(running: Running) -> None:
    read = []
    for app in (application(), application()):
        async with running(app) as client:
            await client.get("/things/1")
        [included] = [route for route in app.routes if hasattr(route, "effective_candidates")]
        read += [candidate.dependant for candidate in included.effective_candidates()]
    assert len(read) == 2
    assert read[0] is read[1]
