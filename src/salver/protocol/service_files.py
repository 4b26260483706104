"""The descriptors of Salver's gRPC services under the names of the wire, for reflection. Pure.

Salver's own `.proto` files have packages of their own, since two descriptors of one full name
cannot live in one process. What is told to others is built here, from the tables of
`service_tables.py`, and never registered.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from importlib import import_module

from google.protobuf import any_pb2, empty_pb2, struct_pb2, wrappers_pb2
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
)

from salver.protocol.service_tables import ELSEWHERE, FILES, STREAMED, WireFile

_SCALARS: Mapping[str, FieldDescriptorProto.Type.ValueType] = {
    "string": FieldDescriptorProto.TYPE_STRING,
    "bytes": FieldDescriptorProto.TYPE_BYTES,
    "bool": FieldDescriptorProto.TYPE_BOOL,
    "uint32": FieldDescriptorProto.TYPE_UINT32,
    "uint64": FieldDescriptorProto.TYPE_UINT64,
    "int32": FieldDescriptorProto.TYPE_INT32,
    "int64": FieldDescriptorProto.TYPE_INT64,
}


class ServiceFiles:
    """The files of all services that are served."""

    def __init__(self, paths: Collection[str]) -> None:
        """`paths` are those of the methods that are served (`/package.Service/Method`)."""
        self._files = {each.name: each for each in _foreign_files()}
        self._files |= {file.name: _built(file, paths) for file in FILES}
        self._places = {symbol: name for name in self._files for symbol in self._symbols(name)}
        self.services = sorted(
            f"{file.package}.{service.name}"
            for file in self._files.values()
            for service in file.service
        )

    def _symbols(self, name: str) -> Iterator[str]:
        file = self._files[name]
        for message in file.message_type:
            yield from _message_symbols(f"{file.package}.{message.name}", message)
        for enum in file.enum_type:
            yield f"{file.package}.{enum.name}"
        for service in file.service:
            yield f"{file.package}.{service.name}"
            for method in service.method:
                yield f"{file.package}.{service.name}.{method.name}"

    def with_symbol(self, symbol: str) -> list[bytes] | None:
        """The file that has it, and those that it needs, serialized; None if none has."""
        name = self._places.get(symbol)
        return None if name is None else self.named(name)

    def named(self, name: str) -> list[bytes] | None:
        """The file of that name, and those that it needs, serialized; None if there is none."""
        if name not in self._files:
            return None
        found: dict[str, bytes] = {}
        waiting = [name]
        while waiting:
            each = waiting.pop()
            if each not in found:
                found[each] = self._files[each].SerializeToString()
                waiting += self._files[each].dependency
        return list(found.values())

    def is_message(self, symbol: str) -> bool:
        """Whether it is a name here; none of them has extensions."""
        return symbol in self._places


def _message_symbols(name: str, message: DescriptorProto) -> Iterator[str]:
    yield name
    yield from (f"{name}.{enum.name}" for enum in message.enum_type)
    for nested in message.nested_type:
        yield from _message_symbols(f"{name}.{nested.name}", nested)


def _foreign_files() -> Iterator[FileDescriptorProto]:
    for module in (any_pb2, empty_pb2, struct_pb2, wrappers_pb2):
        file = FileDescriptorProto()
        module.DESCRIPTOR.CopyToProto(file)
        yield file


def _source(name: str) -> FileDescriptorProto:
    file = FileDescriptorProto()
    import_module(f"salver.protocol.{name}_pb2").DESCRIPTOR.CopyToProto(file)
    return file


def _built(wire: WireFile, paths: Collection[str]) -> FileDescriptorProto:
    file = FileDescriptorProto(name=wire.name, package=wire.package, syntax="proto3")
    if wire.source:
        _copy(wire, _source(wire.source), file)
    for name, fields in wire.written.items():
        within, _, last = name.rpartition(".")
        holder = _message(within, file).nested_type if within else file.message_type
        _write(holder.add(name=last), fields, wire)
    for name, values in wire.enums.items():
        within, _, last = name.rpartition(".")
        enums = _message(within, file).enum_type if within else file.enum_type
        _enumerate(enums.add(name=last), values)
    for service, methods in wire.services.items():
        served = {
            method: ends
            for method, ends in methods.items()
            if f"/{wire.package}.{service}/{method}" in paths
        }
        if not served:
            continue
        added = file.service.add(name=service)
        for method, (taken, given) in served.items():
            added.method.add(
                name=method,
                input_type=_full(taken.removeprefix(STREAMED), wire),
                output_type=_full(given.removeprefix(STREAMED), wire),
                client_streaming=taken.startswith(STREAMED),
                server_streaming=given.startswith(STREAMED),
            )
    file.dependency.extend(sorted(_needed(file)))
    return file


def _message(name: str, file: FileDescriptorProto) -> DescriptorProto:
    first, _, rest = name.partition(".")
    found = next(each for each in file.message_type if each.name == first)
    for part in filter(None, rest.split(".")):
        found = next(each for each in found.nested_type if each.name == part)
    return found


def _full(name: str, wire: WireFile) -> str:
    return name if name.startswith(".") else f".{wire.package}.{name}"


def _copy(wire: WireFile, source: FileDescriptorProto, file: FileDescriptorProto) -> None:
    """Takes over what the table names, with references as they are on the wire."""
    messages = {each.name: each for each in source.message_type}
    enums = {each.name: each for each in source.enum_type}
    names = wire.messages if wire.messages is not None else {each: each for each in messages}
    for name, own in names.items():
        if own in enums:
            file.enum_type.add().CopyFrom(enums[own])
            continue
        message = file.message_type.add()
        message.CopyFrom(messages[own])
        message.name = name
        _rename(message, wire, source.package, own, name)


def _rename(message: DescriptorProto, wire: WireFile, package: str, own: str, name: str) -> None:
    for field in message.field:
        if not field.type_name.startswith(f".{package}."):
            continue
        first, dot, rest = field.type_name.removeprefix(f".{package}.").partition(".")
        # A message that is told under another name holds its nested ones under that name.
        target = _elsewhere(wire, name if first == own else first)
        field.type_name = f".{target}{dot}{rest}"
    for nested in message.nested_type:
        _rename(nested, wire, package, own, name)


def _elsewhere(wire: WireFile, name: str) -> str:
    moved = ELSEWHERE.get(f"{wire.source}.{name}")
    if moved is not None:
        return moved
    for file in FILES:
        if file.source == wire.source and (file.messages is None or name in file.messages):
            return f"{file.package}.{name}"
    raise LookupError(f"no table of service_tables.py has the message {name}")


def _needed(file: FileDescriptorProto) -> set[str]:
    """The files whose messages this one refers to."""
    packages = {each.package: each.name for each in FILES}
    foreign = {
        f".{each.package}.{name}": each.name
        for each in _foreign_files()
        for name in (
            *(one.name for one in each.message_type),
            *(one.name for one in each.enum_type),
        )
    }
    types = set(_types(file.message_type))
    for service in file.service:
        types |= {each for one in service.method for each in (one.input_type, one.output_type)}
    found = set()
    for name in types:
        holders = [each for each in packages if name.startswith(f".{each}.")]
        found.add(foreign[name] if name in foreign else packages[max(holders, key=len)])
    return found - {file.name}


def _types(messages: Collection[DescriptorProto]) -> Iterator[str]:
    for message in messages:
        yield from (field.type_name for field in message.field if field.type_name)
        yield from _types(message.nested_type)


def _write(message: DescriptorProto, fields: Collection[str], wire: WireFile) -> None:
    """Adds fields written as `NUMBER NAME TYPE`, with `*` for repeated ones, `|NAME` for a oneof,
    and `map KEY VALUE` as a type."""
    for text in fields:
        number, name, kind, *more = text.split()
        field = message.field.add(name=name, number=int(number), json_name=_camel(name))
        field.label = FieldDescriptorProto.LABEL_OPTIONAL
        if kind == "map":
            entry = _camel(name)[0].upper() + _camel(name)[1:] + "Entry"
            nested = message.nested_type.add(name=entry)
            nested.options.map_entry = True
            _write(nested, (f"1 key {more[0]}", f"2 value {more[1]}"), wire)
            kind = f"{message.name}.{entry}*"
        if kind.endswith("*"):
            field.label = FieldDescriptorProto.LABEL_REPEATED
            kind = kind[:-1]
        if kind in _SCALARS:
            field.type = _SCALARS[kind]
        else:
            is_enum = kind in wire.enums
            field.type = (
                FieldDescriptorProto.TYPE_ENUM if is_enum else FieldDescriptorProto.TYPE_MESSAGE
            )
            field.type_name = _full(kind, wire)
        if more and more[0].startswith("|"):
            _put_into_oneof(message, field, more[0][1:])


def _put_into_oneof(message: DescriptorProto, field: FieldDescriptorProto, name: str) -> None:
    if not message.oneof_decl:
        message.oneof_decl.add(name=name)
    field.oneof_index = 0


def _enumerate(enum: EnumDescriptorProto, values: Collection[str]) -> None:
    for number, text in enumerate(values):
        name, _, own = text.partition("=")
        enum.value.add(name=name, number=int(own) if own else number)


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)
