"""The golden descriptors of the .proto files, and what may change in them.

Clients and servers of two versions talk to each other during a rolling update, and clients that others have written
keep the .proto file that they were made from. What exists keeps its number, name and type; what is new may be added.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    MethodDescriptorProto,
)
from google.protobuf.json_format import MessageToDict, ParseDict

import shop.contracts.grpc

FOLDER = Path(__file__).parents[2] / "services" / "contracts" / "schemas" / "grpc"
ADVICE = "that breaks clients: leave the package as it is and add version 2 beside it"
OF_FIELD: Final = ("name", "type", "type_name", "label", "proto3_optional", "json_name")
OF_METHOD: Final = ("input_type", "output_type", "client_streaming", "server_streaming", "options")


def _files() -> Iterator[tuple[str, FileDescriptorProto]]:
    for module in pkgutil.iter_modules(shop.contracts.grpc.__path__, "shop.contracts.grpc."):
        if module.name.endswith("_pb2"):
            file = FileDescriptorProto()
            importlib.import_module(module.name).DESCRIPTOR.CopyToProto(file)
            yield file.package, file


FILES: dict[str, FileDescriptorProto] = dict(_files())
"""Every .proto file by its package, without comments."""


def golden_path(package: str) -> Path:
    return FOLDER / f"{package}.json"


def text_of(file: FileDescriptorProto) -> str:
    document = MessageToDict(file, preserving_proto_field_name=True)
    return json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def changes_since_golden(package: str) -> list[str]:
    """The breaking changes against the golden descriptor; none when it is new."""
    path = golden_path(package)
    if not path.exists():
        return []
    golden = ParseDict(json.loads(path.read_text(encoding="utf-8")), FileDescriptorProto())
    return breaking_changes(golden, FILES[package])


def breaking_changes(golden: FileDescriptorProto, current: FileDescriptorProto) -> list[str]:
    """Every difference that could stop a client or a server, as "place: what changed"; empty when all are additions."""
    return list(_of_file(golden, current))


def _of_file(old: FileDescriptorProto, new: FileDescriptorProto) -> Iterator[str]:
    for name in ("package", "syntax"):
        if getattr(old, name) != getattr(new, name):
            yield f"{old.name}: {name} was {getattr(old, name)}, is {getattr(new, name)}"
    yield from _of_types(old, new, "")
    services = _named(new.service)
    for service in old.service:
        if service.name not in services:
            yield f"{service.name}: removed"
        else:
            methods = _named(services[service.name].method)
            for method in service.method:
                yield from _of_method(method, methods.get(method.name), f"{service.name}.{method.name}")


def _of_types(old: Any, new: Any, prefix: str) -> Iterator[str]:
    """Messages and enums of a file, or those inside a message."""
    messages = _named(new.message_type if isinstance(new, FileDescriptorProto) else new.nested_type)
    for message in old.message_type if isinstance(old, FileDescriptorProto) else old.nested_type:
        place = f"{prefix}{message.name}"
        if message.name not in messages:
            yield f"{place}: removed"
        else:
            yield from _of_message(message, messages[message.name], place)
    enums = _named(new.enum_type)
    for enum in old.enum_type:
        place = f"{prefix}{enum.name}"
        if enum.name not in enums:
            yield f"{place}: removed"
        else:
            yield from _of_enum(enum, enums[enum.name], place)


def _of_message(old: DescriptorProto, new: DescriptorProto, place: str) -> Iterator[str]:
    fields = {field.number: field for field in new.field}
    for field in old.field:
        if field.number in fields:
            yield from _of_field(old, field, new, fields[field.number], f"{place}.{field.name}")
        elif not any(one.start <= field.number < one.end for one in new.reserved_range):
            yield f"{place}.{field.name}: removed, and its number {field.number} is not reserved"
        elif field.name not in new.reserved_name:
            yield f"{place}.{field.name}: removed, and its name is not reserved"
    for reserved in old.reserved_range:
        used = [number for number in fields if reserved.start <= number < reserved.end]
        yield from (f"{place}.{fields[number].name}: {number} was reserved" for number in used)
    yield from _of_types(old, new, f"{place}.")


def _of_field(
    old_message: DescriptorProto,
    old: FieldDescriptorProto,
    new_message: DescriptorProto,
    new: FieldDescriptorProto,
    place: str,
) -> Iterator[str]:
    for name in OF_FIELD:
        before, after = getattr(old, name), getattr(new, name)
        if before != after:
            yield f"{place}: {name} was {before}, is {after}"
    before, after = _oneof(old_message, old), _oneof(new_message, new)
    if before != after:
        yield f"{place}: oneof was {before or 'none'}, is {after or 'none'}"


def _oneof(message: DescriptorProto, field: FieldDescriptorProto) -> str:
    return message.oneof_decl[field.oneof_index].name if field.HasField("oneof_index") else ""


def _of_enum(old: EnumDescriptorProto, new: EnumDescriptorProto, place: str) -> Iterator[str]:
    names = {value.number: value.name for value in new.value}
    for value in old.value:
        reserved = any(one.start <= value.number <= one.end for one in new.reserved_range)
        if value.number not in names and not (reserved and value.name in new.reserved_name):
            yield f"{place}.{value.name}: removed, and {value.number} and the name are not reserved"
        elif names.get(value.number, value.name) != value.name:
            yield f"{place}.{value.name}: {value.number} is {names[value.number]} now"


def _of_method(old: MethodDescriptorProto, new: MethodDescriptorProto | None, place: str) -> Iterator[str]:
    if new is None:
        yield f"{place}: removed"
        return
    for name in OF_METHOD:
        before, after = getattr(old, name), getattr(new, name)
        if before != after:
            yield f"{place}: {name} was {_shown(before)}, is {_shown(after)}"


def _shown(value: Any) -> str:
    return " ".join(str(value).split()) or "empty"


def _named(found: Any) -> Mapping[str, Any]:
    return {one.name: one for one in found}


def assert_current(package: str) -> None:
    """The golden descriptor is that of the .proto file, and nothing in it changed in a way that breaks clients."""
    path = golden_path(package)
    assert path.exists(), f"{package} has no golden descriptor yet: run `make schemas` and commit it"
    broken = changes_since_golden(package)
    assert not broken, f"{broken}: {ADVICE}"
    assert path.read_text(encoding="utf-8") == text_of(FILES[package]), (
        f"{package} has additions: run `make schemas` and commit it"
    )
