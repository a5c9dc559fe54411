"""A .proto file may get additions; whatever else changes in it breaks clients, and fails here."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from grpc_tools import protoc

from tests.contracts import golden, protos

BASE = """
syntax = "proto3";
package shop.test.v1;
service Orders {
  rpc Get(GetRequest) returns (Order) { option idempotency_level = NO_SIDE_EFFECTS; }
  rpc Put(Order) returns (Order);
}
message GetRequest { string id = 1; }
message Order {
  reserved 7;
  string id = 1;
  repeated string lines = 2;
  optional int32 total = 3;
  oneof paid { string card = 4; string voucher = 5; }
  State state = 6;
  message Address { string city = 1; }
  Address address = 8;
  enum Kind { KIND_UNSPECIFIED = 0; KIND_RETAIL = 1; }
}
enum State { STATE_UNSPECIFIED = 0; STATE_OPEN = 1; }
"""
Compile = Callable[[str], FileDescriptorProto]


@pytest.fixture
def compiled(tmp_path: Path) -> Compile:
    def compile_text(text: str) -> FileDescriptorProto:
        (tmp_path / "orders.proto").write_text(text, encoding="utf-8")
        made = tmp_path / "orders.bin"
        run: Callable[[list[str]], int] = protoc.main
        assert run(["", f"-I{tmp_path}", f"--descriptor_set_out={made}", "orders.proto"]) == 0
        return FileDescriptorSet.FromString(made.read_bytes()).file[0]

    return compile_text


@dataclasses.dataclass(frozen=True)
class Change:
    old: str
    new: str
    breaks: str = ""


ADDITIONS = [
    Change("string id = 1; }", "string id = 1; string note = 2; }"),
    Change("STATE_OPEN = 1;", "STATE_OPEN = 1; STATE_CLOSED = 2;"),
    Change("rpc Put(Order) returns (Order);", "rpc Put(Order) returns (Order); rpc Drop(Order) returns (Order);"),
    Change("message GetRequest", "message DropRequest {} message GetRequest"),
    Change("message Address {", "message Parcel {} message Address {"),
    Change("  reserved 7;\n  string id = 1;", '  reserved 1, 7; reserved "id";'),
    Change("STATE_OPEN = 1;", 'reserved 1; reserved "STATE_OPEN";'),
    Change("// comment", ""),
]
BREAKING = [
    Change("shop.test.v1", "shop.test.v2", "orders.proto: package was shop.test.v1, is shop.test.v2"),
    Change("  repeated string lines = 2;\n", "", "Order.lines: removed, and its number 2 is not reserved"),
    Change("repeated string lines = 2;", "reserved 2;", "Order.lines: removed, and its name is not reserved"),
    Change("lines = 2;", "lines = 9;", "Order.lines: removed, and its number 2 is not reserved"),
    Change("repeated string lines", "repeated bytes lines", "Order.lines: type was 9, is 12"),
    Change("repeated string lines", "string lines", "Order.lines: label was 3, is 1"),
    Change("lines = 2", "rows = 2", "Order.lines: name was lines, is rows"),
    Change("optional int32 total", "int32 total", "Order.total: proto3_optional was True, is False"),
    Change("oneof paid { string card = 4;", "string card = 4; oneof paid {", "Order.card: oneof was paid"),
    Change("State state = 6;", "Kind state = 6;", "Order.state: type_name was .shop.test.v1.State, is"),
    Change("message Address { string city = 1; }", "message Address { int32 city = 1; }", "Order.Address.city: type"),
    Change("reserved 7;", "string again = 7;", "Order.again: 7 was reserved"),
    Change("STATE_OPEN = 1;", "", "State.STATE_OPEN: removed, and 1 and the name are not reserved"),
    Change("STATE_OPEN = 1;", "reserved 1;", "State.STATE_OPEN: removed"),
    Change("STATE_OPEN = 1;", "STATE_SHUT = 1;", "State.STATE_OPEN: 1 is STATE_SHUT now"),
    Change("KIND_RETAIL = 1;", "", "Order.Kind.KIND_RETAIL: removed"),
    Change("  rpc Put(Order) returns (Order);\n", "", "Orders.Put: removed"),
    Change("rpc Put(Order)", "rpc Put(GetRequest)", "Orders.Put: input_type was .shop.test.v1.Order, is"),
    Change(
        "rpc Put(Order) returns (Order)", "rpc Put(Order) returns (stream Order)", "Orders.Put: server_streaming was"
    ),
    Change("option idempotency_level = NO_SIDE_EFFECTS;", "", "Orders.Get: options was idempotency_level: NO_SIDE"),
    Change("service Orders", "service Sales", "Orders: removed"),
    Change(
        "  message Address { string city = 1; }\n  Address address = 8;\n",
        '  reserved 8; reserved "address";\n',
        "Order.Address: removed",
    ),
]


@pytest.mark.parametrize("change", ADDITIONS, ids=lambda change: change.new[:40])
def test_additions_pass(compiled: Compile, change: Change) -> None:
    text = f"{BASE}// comment\n"
    assert change.old in text
    assert protos.breaking_changes(compiled(text), compiled(text.replace(change.old, change.new))) == []


@pytest.mark.parametrize("change", BREAKING, ids=lambda change: change.breaks)
def test_what_breaks_clients_is_found(compiled: Compile, change: Change) -> None:
    assert change.old in BASE
    found = protos.breaking_changes(compiled(BASE), compiled(BASE.replace(change.old, change.new)))
    assert any(one.startswith(change.breaks) for one in found), found


def test_golden_descriptor_reads_as_it_was_written(
    compiled: Compile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protos, "FOLDER", tmp_path)
    monkeypatch.setattr(protos, "FILES", {"shop.test.v1": compiled(BASE)})
    with pytest.raises(AssertionError, match="no golden descriptor yet"):
        protos.assert_current("shop.test.v1")
    protos.golden_path("shop.test.v1").write_text(protos.text_of(compiled(BASE)), encoding="utf-8")
    protos.assert_current("shop.test.v1")
    protos.FILES["shop.test.v1"] = compiled(BASE.replace("string id = 1; }", "string id = 1; string note = 2; }"))
    with pytest.raises(AssertionError, match="has additions: run `make schemas`"):
        protos.assert_current("shop.test.v1")
    protos.FILES["shop.test.v1"] = compiled(BASE.replace("lines = 2", "rows = 2"))
    with pytest.raises(AssertionError, match="that breaks clients"):
        protos.assert_current("shop.test.v1")


@pytest.mark.parametrize("package", protos.FILES)
def test_golden_descriptor_is_current(package: str) -> None:
    protos.assert_current(package)


def test_no_golden_descriptor_is_left_over() -> None:
    assert {path.stem for path in protos.FOLDER.glob("*.json")} == set(protos.FILES)


def test_breaking_change_of_a_proto_file_is_not_written(
    compiled: Compile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(protos, "FOLDER", tmp_path)
    monkeypatch.setattr(protos, "FILES", {"shop.test.v1": compiled(BASE)})
    protos.golden_path("shop.test.v1").write_text(protos.text_of(compiled(BASE.replace("id = 1", "key = 1"))), "utf-8")
    before = protos.golden_path("shop.test.v1").read_text(encoding="utf-8")
    assert golden.main() == 1
    assert "name was key, is id" in capsys.readouterr().err
    assert protos.golden_path("shop.test.v1").read_text(encoding="utf-8") == before
