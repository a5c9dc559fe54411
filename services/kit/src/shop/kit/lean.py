"""Small operations without the framework's cost for each request.

FastAPI resolves a request's parameters in layers of context managers and multi-value mappings: most of what a small
read costs, and a call between two services. A handler marked as `lean` is declared like any other, so that its
documentation and rules are the same, and the same fields validate its parameters. But a request that is plainly right
is answered without those layers. Whatever is not (a wrong or missing parameter or body, another method or path) goes to
the framework, which refuses it as ever.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from types import NoneType, UnionType
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin
from urllib.parse import parse_qsl
from uuid import UUID

from fastapi import Request, Response
from fastapi.dependencies.models import Dependant
from fastapi.params import Form
from fastapi.routing import APIRoute
from pydantic import BaseModel
from starlette.requests import ClientDisconnect
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shop.kit.errors import Problem, known_problem
from shop.kit.idempotency import IDEMPOTENCY_KEY
from shop.kit.routing import parse_json

MARK = "_shop_lean"
SCALARS = frozenset({bool, int, str, UUID, NoneType})
"""Types of parameters whose text is one value."""
JSON_TYPES = (b"application/json", b"application/json; charset=utf-8")
RULED_HEADER = IDEMPOTENCY_KEY.lower().encode()
"""The framework's routes have a rule for it."""


def document(model: BaseModel) -> Response:
    """The answer of a lean operation: the model as JSON."""
    return Response(model.model_dump_json(), media_type="application/json")


def lean[Handler: Callable[..., Awaitable[Response]]](handler: Handler) -> Handler:
    """Mark the handler of a GET or POST operation that makes its Response itself.

    Its parameters are scalar, except for the body of a POST. Its dependencies, and those of its router, are coroutine
    functions of the request, or of scalar parameters.
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


class _Given(NamedTuple):
    """A request's parameters as they were sent."""

    path: Mapping[str, str]
    query: Mapping[str, str]
    headers: Mapping[str, str]


class _Parameters:
    """Those of a handler or of one of its dependencies."""

    def __init__(self, route: APIRoute, declared: Dependant) -> None:
        if declared.cookie_params:
            raise TypeError(f"{route.path}: an operation with cookies cannot be lean")
        self._path = _parameters(route, declared.path_params)
        self._query = _parameters(route, declared.query_params)
        self._headers = _parameters(route, declared.header_params)
        self.header_names = {one.alias.lower().encode(): one.alias for one in self._headers}
        self.names = {one.name for one in (*self._path, *self._query, *self._headers)}

    def read(self, given: _Given) -> dict[str, Any]:
        """The arguments. Raises _LeftToFramework unless all of them are right."""
        found: dict[str, Any] = {}
        if self.names:
            _read(found, self._path, given.path)
            _read(found, self._query, given.query)
            _read(found, self._headers, given.headers)
        return found


class _Dependency:
    """``name`` is the handler's parameter that gets its value, None for one that only checks."""

    def __init__(self, route: APIRoute, declared: Dependant) -> None:
        call: Any = declared.call
        self.name = declared.name
        self.parameters = _Parameters(route, declared)
        self._call: Callable[..., Awaitable[Any]] = call
        self._takes_request = declared.request_param_name
        known = self.parameters.names | {declared.request_param_name}
        if not inspect.iscoroutinefunction(call) or set(inspect.signature(call).parameters) - known:
            raise TypeError(f"{route.path}: {call} is no coroutine function of the request, so it cannot be lean")

    def value(self, request: Request, arguments: dict[str, Any]) -> Awaitable[Any]:
        if self._takes_request is not None:
            arguments[self._takes_request] = request
        return self._call(**arguments)


class Operation:
    """A route whose handler is marked. Raises TypeError for one that cannot be lean."""

    def __init__(self, route: APIRoute) -> None:
        declared = route.dependant
        if route.methods not in ({"GET"}, {"POST"}):
            raise TypeError(f"{route.path}: only GET and POST can be lean")
        self.method: str = next(iter(route.methods))
        self.route = route
        self._handle: Callable[..., Awaitable[Response]] = route.endpoint
        self._dependencies = [_Dependency(route, one) for one in declared.dependencies]
        self._parameters = _Parameters(route, declared)
        self._body = _body_of(route)
        self._header_names = self._parameters.header_names.copy()
        for one in self._dependencies:
            self._header_names |= one.parameters.header_names
        known = self._parameters.names | {one.name for one in self._dependencies}
        known |= {one.name for one in declared.body_params}
        if set(inspect.signature(route.endpoint).parameters) - known:
            raise TypeError(f"{route.path}: the handler has parameters that are not of the request")

    def given(self, scope: Scope, path: Mapping[str, str]) -> _Given:
        """Raises _LeftToFramework for what its routes refuse."""
        query: bytes = scope["query_string"]
        if b"%00" in query or "\x00" in scope["path"]:
            raise _LeftToFramework
        parsed = dict(parse_qsl(query.decode("latin-1"), keep_blank_values=True)) if query else {}
        return _Given(path, parsed, self._sent(scope["headers"]))

    def _sent(self, headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
        """Of a header that is sent twice the first one counts, as for the framework."""
        found: dict[str, str] = {}
        ruled = 0
        for name, value in headers:
            ruled += name == RULED_HEADER
            if name in self._header_names:
                found.setdefault(self._header_names[name], value.decode("latin-1"))
        if ruled > 1:
            raise _LeftToFramework
        return found

    def arguments(self, given: _Given, content: bytes | None) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """Of the handler and of each dependency. Raises _LeftToFramework unless all of them are right."""
        of_dependencies = [one.parameters.read(given) for one in self._dependencies]
        found = self._parameters.read(given)
        if self._body is not None:
            found[self._body.name] = self._read_body(self._body, content)
        return found, of_dependencies

    def _read_body(self, field: Any, content: bytes | None) -> Any:
        if content is None:
            raise _LeftToFramework
        try:
            document = parse_json(content)
        except Problem:
            raise _LeftToFramework from None
        value, wrong = field.validate(document, {}, loc=("body",))
        if wrong:
            raise _LeftToFramework
        return value

    def takes_body(self, scope: Scope) -> bool:
        """Whether the operation has a body and the request says that it is JSON."""
        return self._body is not None and any(
            name == b"content-type" and value in JSON_TYPES for name, value in scope["headers"]
        )

    async def answer(self, request: Request, found: dict[str, Any], of_dependencies: list[dict[str, Any]]) -> Response:
        """The handler's, or the problem that it raises."""
        try:
            for one, arguments in zip(self._dependencies, of_dependencies, strict=True):
                value = await one.value(request, arguments)
                if one.name is not None:
                    found[one.name] = value
            return await self._handle(**found)
        except Exception as error:
            problem = known_problem(error)
            if problem is None:
                raise
            return problem.response()


class Lean:
    """The innermost middleware: answers requests for ``operations`` that are plainly right."""

    def __init__(self, app: ASGIApp, operations: Sequence[Operation]) -> None:
        self._app = app
        self._operations = {
            method: [one for one in operations if one.method == method] for method in {one.method for one in operations}
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not scope.get("root_path"):
            for operation in self._operations.get(scope["method"], ()):
                if match := operation.route.path_regex.match(scope["path"]):
                    await self._answer(operation, match.groupdict(), scope, receive, send)
                    return
        await self._app(scope, receive, send)

    async def _answer(
        self, operation: Operation, path: dict[str, str], scope: Scope, receive: Receive, send: Send
    ) -> None:
        content = await _content(receive) if operation.takes_body(scope) else None
        try:
            arguments = operation.arguments(operation.given(scope, path), content)
        except _LeftToFramework:
            await self._app(scope, receive if content is None else _again(content, receive), send)
            return
        scope["route"] = operation.route
        scope["path_params"] = path
        response = await operation.answer(Request(scope, receive), *arguments)
        await response(scope, receive, send)


async def _content(receive: Receive) -> bytes:
    """The whole body, which `shop.kit.observe.Observe` limits."""
    message = await receive()
    content: bytes = message.get("body", b"")
    while message.get("more_body", False):
        message = await receive()
        content += message.get("body", b"")
    if message["type"] == "http.disconnect":
        raise ClientDisconnect
    return content


def _again(content: bytes, receive: Receive) -> Receive:
    """``receive`` of a request whose body was read."""
    read = False

    async def receive_again() -> Message:
        nonlocal read
        if read:
            return await receive()
        read = True
        return {"type": "http.request", "body": content, "more_body": False}

    return receive_again


def operations(routes: Sequence[BaseRoute]) -> list[Operation]:
    """Those of an application's ``routes`` that are lean. Raises TypeError if an earlier route takes paths of one."""
    found = []
    for position, route in enumerate(routes):
        if isinstance(route, APIRoute) and hasattr(route.endpoint, MARK):
            operation = Operation(route)
            if taken := [one for one in routes[:position] if _overlap(one, operation)]:
                raise TypeError(f"{route.path}: some of its paths belong to {taken[0]}, so it cannot be lean")
            found.append(operation)
    return found


def _overlap(earlier: BaseRoute, operation: Operation) -> bool:
    """Whether a path can be of both templates and the earlier route takes the method."""
    if not isinstance(earlier, Route) or ":" in earlier.path:
        return True
    fields = operation.route.dependant.path_params
    ids = {f"{{{field.alias}}}" for field in fields if field.field_info.annotation is UUID}
    parts, others = operation.route.path.split("/"), earlier.path.split("/")
    same = len(parts) == len(others) and all(
        part == other or "{" in other or ("{" in part and (part not in ids or _is_id(other)))
        for part, other in zip(parts, others, strict=True)
    )
    return same and operation.method in (earlier.methods or {operation.method})


def _is_id(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True


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
        if not _is_scalar(info.annotation) or ":" in route.path:
            raise TypeError(f"{route.path}: {field.name} is no plain value, so the operation cannot be lean")
        made.append(_Parameter(field.name, field.alias, field.validate, info.is_required(), info.default))
    return made


def _is_scalar(annotation: Any) -> bool:
    """Whether its text is one value."""
    if get_origin(annotation) is Literal:
        return all(type(value) in SCALARS for value in get_args(annotation))
    one_of = get_origin(annotation) in (Union, UnionType)
    return SCALARS.issuperset(get_args(annotation) if one_of else [annotation])


def _body_of(route: APIRoute) -> Any:
    """The field that validates the whole body; None for an operation without one."""
    field = route.body_field
    if field is None:
        return None
    if len(route.dependant.body_params) != 1 or route._embed_body_fields or isinstance(field.field_info, Form):
        raise TypeError(f"{route.path}: its body is not one JSON value, so it cannot be lean")
    if not field.field_info.is_required():
        raise TypeError(f"{route.path}: its body is optional, so it cannot be lean")
    return route.dependant.body_params[0]
