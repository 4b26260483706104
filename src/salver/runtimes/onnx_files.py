"""ONNX files before ONNX Runtime reads them: where their weights lie, which operators they use.

Walks the protobuf message itself, without its library and without the weights: fields that are
not needed are skipped by their length. Refuses weights outside of the model's own folder.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path

import msgspec

_MOST_LEVELS = 64
_GRAPH, _OPSETS, _FUNCTIONS, _TRAINING = 7, 8, 25, 20

Slice = tuple[int, int]
"""Where a field's content begins and ends."""


class Opset(msgspec.Struct, frozen=True):
    domain: str
    version: int


def opsets_of(path: Path) -> tuple[Opset, ...]:
    """The operator sets that a model asks for. Raises `ValueError` if it is no ONNX."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        return tuple(_opset(data, each) for each in _messages(data, (0, len(data)), _OPSETS))


def check_external_data(path: Path) -> None:
    """Raises `ValueError` for weights outside of the model's folder, or that are not there."""
    folder = path.parent.resolve()
    for location in external_locations(path):
        at = (folder / location).resolve()
        if Path(location).is_absolute() or not at.is_relative_to(folder):
            raise ValueError(
                f"its weights are to be read from '{location}', outside of the model's folder; "
                "put them beside the model and save it again"
            )
        if not at.is_file():
            raise ValueError(
                f"its weights are to be read from '{location}', which is not there; put that file "
                "beside the model"
            )


def external_locations(path: Path) -> tuple[str, ...]:
    """The files, as the model names them, that hold some of its tensors."""
    if path.stat().st_size == 0:
        raise ValueError("it is empty")
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        found: dict[str, None] = {}
        whole = (0, len(data))
        if data[4:8] == b"ORTM":
            # ONNX Runtime's own format has all weights within.
            return ()
        for field in (_GRAPH, _FUNCTIONS):
            for part in _messages(data, whole, field):
                found.update(dict.fromkeys(_in_graph(data, part, 0, is_graph=field == _GRAPH)))
        for training in _messages(data, whole, _TRAINING):
            for field in (1, 2):
                for part in _messages(data, training, field):
                    found.update(dict.fromkeys(_in_graph(data, part, 0, is_graph=True)))
        return tuple(found)


def _in_graph(data: mmap.mmap, part: Slice, level: int, *, is_graph: bool) -> Iterator[str]:
    """Of a graph or a function: its initialisers, and those within its nodes' attributes."""
    if level > _MOST_LEVELS:
        raise ValueError(f"its graphs are nested more than {_MOST_LEVELS} levels deep")
    for field, content in _fields(data, part):
        if content is None:
            continue
        if is_graph and field == 5:
            yield from _in_tensor(data, content)
        elif is_graph and field == 15:
            for inner, tensor in _fields(data, content):
                if inner in (1, 2) and tensor is not None:
                    yield from _in_tensor(data, tensor)
        elif field == (1 if is_graph else 7):
            yield from _in_node(data, content, level)
        elif not is_graph and field == 11:
            yield from _in_attribute(data, content, level)


def _in_node(data: mmap.mmap, node: Slice, level: int) -> Iterator[str]:
    for attribute in _messages(data, node, 5):
        yield from _in_attribute(data, attribute, level)


def _in_attribute(data: mmap.mmap, attribute: Slice, level: int) -> Iterator[str]:
    for field, content in _fields(data, attribute):
        if content is None:
            continue
        if field in (5, 10):
            yield from _in_tensor(data, content)
        elif field in (6, 11):
            yield from _in_graph(data, content, level + 1, is_graph=True)
        elif field in (22, 23):
            for inner, tensor in _fields(data, content):
                if inner in (1, 2) and tensor is not None:
                    yield from _in_tensor(data, tensor)


def _in_tensor(data: mmap.mmap, tensor: Slice) -> Iterator[str]:
    """Where an external tensor lies. It is taken at its entries: what says that it is external
    may be read otherwise by another reader."""
    for entry in _messages(data, tensor, 13):
        pair = {field: data[slice(*content)] for field, content in _fields(data, entry) if content}
        if pair.get(1) == b"location":
            yield pair.get(2, b"").decode("utf-8", "surrogateescape")


def _opset(data: mmap.mmap, part: Slice) -> Opset:
    domain, version = "", 0
    at, end = part
    while at < end:
        tag, at = _varint(data, at, end)
        if tag == 0x10:
            version, at = _varint(data, at, end)
        elif tag == 0x0A:
            size, at = _varint(data, at, end)
            domain, at = data[at : at + size].decode("utf-8", "replace"), at + size
        else:
            _, at = _content(data, tag, at, end)
    return Opset(domain, version)


def _messages(data: mmap.mmap, part: Slice, wanted: int) -> Iterator[Slice]:
    return (each for field, each in _fields(data, part) if field == wanted and each is not None)


def _fields(data: mmap.mmap, part: Slice) -> Iterator[tuple[int, Slice | None]]:
    """The fields of a message; the content of those that have a length. Raises `ValueError`."""
    at, end = part
    while at < end:
        tag, at = _varint(data, at, end)
        if tag < 8:
            # No field has the number 0: zeros without end would be read for hours.
            raise ValueError("it is damaged, or no ONNX model; save it again")
        content, at = _content(data, tag, at, end)
        yield tag >> 3, content


def _content(data: mmap.mmap, tag: int, at: int, end: int) -> tuple[Slice | None, int]:
    kind = tag & 7
    if kind == 0:
        _, after = _varint(data, at, end)
        return None, after
    if kind == 2:
        size, start = _varint(data, at, end)
        content, after = (start, start + size), start + size
    else:
        content, after = None, at + {1: 8, 5: 4}.get(kind, end + 1)
    if after > end:
        raise ValueError("it is cut off, or no ONNX model; save it again")
    return content, after


def _varint(data: mmap.mmap, at: int, end: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= end:
            break
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("it is cut off, or no ONNX model; save it again")
