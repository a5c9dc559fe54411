"""Reads without the framework's cost for each request.

FastAPI resolves a request's parameters in layers of context managers and multi-value mappings: most of what a small
read costs. A handler marked as `lean` is declared like any other, so that its documentation and rules are the same, and
the same fields validate its parameters. But a request that is plainly right is answered without those layers. Whatever
is not (a wrong or missing parameter, another method or path) goes to the framework, which refuses it as ever.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from types import NoneType, UnionType
from typing import Any, NamedTuple, Union, get_args, get_origin
from urllib.parse import parse_qsl
from uuid import UUID

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from shop.kit.errors import known_problem
from shop.kit.idempotency import IDEMPOTENCY_KEY

MARK = "_shop_lean"
SCALARS = frozenset({bool, int, str, UUID, NoneType})
"""Types of parameters whose text is one value."""
RULED_HEADER = IDEMPOTENCY_KEY.lower().encode()
"""The framework's routes have a rule for it."""


def lean[Handler: Callable[..., Awaitable[Response]]](handler: Handler) -> Handler:
    """Mark the handler of a GET operation with scalar parameters that makes its Response itself.

    Its dependencies, and those of its router, are coroutine functions of the request alone.
    """
    setattr(handler, MARK, True)
    return handler


class _Parameter(NamedTuple):
    """``alias`` is its name in the request; ``validate`` returns the value and what is wrong with it."""

    name: str
    alias: str
    validate: Callable[[str], tuple[Any, Any]]
    required: bool
    default: Any


class _LeftToFramework(Exception):
    """It says what is wrong with the request."""


class Operation:
    """A route whose handler is marked. Raises TypeError for one that cannot be lean."""

    def __init__(self, route: APIRoute) -> None:
        declared = route.dependant
        if route.methods != {"GET"} or declared.body_params or declared.cookie_params:
            raise TypeError(f"{route.path}: only a GET without body and cookies can be lean")
        self.route = route
        self._handle: Callable[..., Awaitable[Response]] = route.endpoint
        self._dependencies = [(one.name, _call_of(route, one.call)) for one in declared.dependencies]
        self._path = _parameters(route, declared.path_params)
        self._query = _parameters(route, declared.query_params)
        self._headers = _parameters(route, declared.header_params)
        self._header_names = {one.alias.lower().encode(): one.alias for one in self._headers}
        known = {one.name for one in (*self._path, *self._query, *self._headers)}
        if set(inspect.signature(route.endpoint).parameters) - known - {name for name, _ in self._dependencies}:
            raise TypeError(f"{route.path}: the handler has parameters that are not of the request")

    def arguments(self, scope: Scope, path: Mapping[str, str]) -> dict[str, Any]:
        """Of the handler. Raises _LeftToFramework unless all of them are right."""
        query: bytes = scope["query_string"]
        if b"%00" in query or "\x00" in scope["path"]:
            raise _LeftToFramework
        found: dict[str, Any] = {}
        _read(found, self._path, path)
        _read(found, self._query, dict(parse_qsl(query.decode("latin-1"), keep_blank_values=True)) if query else {})
        _read(found, self._headers, self._sent(scope["headers"]))
        return found

    def _sent(self, headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
        """Of a header that is sent twice the first one counts, as for the framework."""
        found: dict[str, str] = {}
        for name, value in headers:
            if name == RULED_HEADER:
                raise _LeftToFramework
            if name in self._header_names:
                found.setdefault(self._header_names[name], value.decode("latin-1"))
        return found

    async def answer(self, request: Request, arguments: dict[str, Any]) -> Response:
        """The handler's, or the problem that it raises."""
        try:
            for name, call in self._dependencies:
                value = await call(request)
                if name is not None:
                    arguments[name] = value
            return await self._handle(**arguments)
        except Exception as error:
            problem = known_problem(error)
            if problem is None:
                raise
            return problem.response()


class Lean:
    """The innermost middleware: answers requests for ``operations`` that are plainly right."""

    def __init__(self, app: ASGIApp, operations: Sequence[Operation]) -> None:
        self._app = app
        self._operations = operations

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "GET" and not scope.get("root_path"):
            for operation in self._operations:
                if match := operation.route.path_regex.match(scope["path"]):
                    await self._answer(operation, match.groupdict(), scope, receive, send)
                    return
        await self._app(scope, receive, send)

    async def _answer(
        self, operation: Operation, path: dict[str, str], scope: Scope, receive: Receive, send: Send
    ) -> None:
        try:
            arguments = operation.arguments(scope, path)
        except _LeftToFramework:
            await self._app(scope, receive, send)
            return
        scope["route"] = operation.route
        scope["path_params"] = path
        response = await operation.answer(Request(scope, receive), arguments)
        await response(scope, receive, send)


def operations(routes: Sequence[BaseRoute]) -> list[Operation]:
    """Those of an application's ``routes`` that are lean. Raises TypeError if an earlier route takes paths of one."""
    found = []
    for position, route in enumerate(routes):
        if isinstance(route, APIRoute) and hasattr(route.endpoint, MARK):
            if taken := [one for one in routes[:position] if _overlap(one, route.path)]:
                raise TypeError(f"{route.path}: some of its paths belong to {taken[0]}, so it cannot be lean")
            found.append(Operation(route))
    return found


def _overlap(earlier: BaseRoute, path: str) -> bool:
    """Whether a path can be of both templates and the earlier route takes GET."""
    if not isinstance(earlier, Route) or ":" in earlier.path:
        return True
    parts, others = path.split("/"), earlier.path.split("/")
    same = len(parts) == len(others) and all(
        part == other or "{" in part + other for part, other in zip(parts, others, strict=True)
    )
    return same and "GET" in (earlier.methods or {"GET"})


def _read(found: dict[str, Any], parameters: Iterable[_Parameter], given: Mapping[str, str]) -> None:
    for name, alias, validate, required, default in parameters:
        text = given.get(alias)
        if text is None:
            if required:
                raise _LeftToFramework
            found[name] = default
        else:
            found[name], wrong = validate(text)
            if wrong:
                raise _LeftToFramework


def _parameters(route: APIRoute, fields: Iterable[Any]) -> list[_Parameter]:
    made = []
    for field in fields:
        info = field.field_info
        one_of = get_origin(info.annotation) in (Union, UnionType)
        if not SCALARS.issuperset(get_args(info.annotation) if one_of else [info.annotation]) or ":" in route.path:
            raise TypeError(f"{route.path}: {field.name} is no plain value, so the operation cannot be lean")
        made.append(_Parameter(field.name, field.alias, field.validate, info.is_required(), info.default))
    return made


def _call_of(route: APIRoute, call: Any) -> Callable[[Request], Awaitable[Any]]:
    parameters = inspect.signature(call, eval_str=True).parameters.values()
    if not inspect.iscoroutinefunction(call) or [one.annotation for one in parameters] != [Request]:
        raise TypeError(f"{route.path}: {call} is no coroutine function of the request alone, so it cannot be lean")
    checked: Callable[[Request], Awaitable[Any]] = call
    return checked
