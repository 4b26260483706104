"""A message of any wire format as values that people can read: tensors, or JSON as it is.

Without NumPy: elements are unpacked one by one, which is enough for what is looked at.
"""

from __future__ import annotations

import json
import struct
from typing import Any

import msgspec

from salver.errors import SalverError
from salver.inference.metadata import STRUCT_CODES
from salver.protocol.messages import Message, Tensor, json_view, tensors_of, unpacked
from salver.protocol.wire_codes import Codec

_LIMIT_BYTES = 64 << 20
_MOST_SHOWN = 12
_V2 = (Codec.V2_JSON, Codec.V2_GRPC)


class Shown(msgspec.Struct, frozen=True):
    """A message: its JSON `value`, and its tensors where the wire format has such."""

    value: Any
    tensors: tuple[dict[str, Any], ...] = ()

    def only(self, name: str) -> Shown:
        """With this tensor alone."""
        kept = tuple(each for each in self.tensors if each["name"] == name)
        key = "inputs" if isinstance(self.value, dict) and "inputs" in self.value else "outputs"
        return Shown({key: list(kept)}, kept)


def read_message(message: Message) -> Shown:
    """The message, decoded. What cannot be read is said in its place."""
    try:
        message = unpacked(message, _LIMIT_BYTES)
        if message.codec not in _V2 or message.status >= 300:
            return Shown(json.loads(bytes(json_view(message))))
        if message.codec == Codec.V2_GRPC:
            value = json.loads(bytes(json_view(message)))
            tensors = [*value.get("inputs", []), *value.get("outputs", [])]
            return Shown(value, tuple(tensors))
        tensors = [_tensor(each) for each in tensors_of(message)]
    except (SalverError, ValueError) as error:
        return Shown({"unreadable": str(error), "bytes": len(message.body)})
    return Shown({"inputs" if message.is_request else "outputs": tensors}, tuple(tensors))


def _tensor(tensor: Tensor) -> dict[str, Any]:
    found: dict[str, Any] = {
        "name": tensor.name,
        "datatype": tensor.datatype,
        "shape": list(tensor.shape),
    }
    if tensor.blob is not None:
        found["data"] = _elements(bytes(tensor.blob), tensor.datatype)
    elif tensor.data is not None:
        found["data"] = msgspec.json.decode(tensor.data)
    return found


def _elements(raw: bytes, datatype: str) -> list[Any]:
    if datatype == "BYTES":
        found, at = [], 0
        while at + 4 <= len(raw):
            end = at + 4 + int.from_bytes(raw[at : at + 4], "little")
            found.append(raw[at + 4 : end].decode(errors="replace"))
            at = end
        return found
    code = STRUCT_CODES.get(datatype)
    if code is None:
        return [raw.hex()]
    return list(struct.unpack(f"<{len(raw) // struct.calcsize(code)}{code}", raw))


def tensor_line(tensor: dict[str, Any]) -> str:
    """A tensor on one line: `x INT32 [1, 3]  1 2 3`."""
    values = _flat(tensor.get("data", []))
    shown = " ".join(_text(each) for each in values[:_MOST_SHOWN])
    rest = f" ... ({len(values)} in all)" if len(values) > _MOST_SHOWN else ""
    return f"{tensor['name']} {tensor['datatype']} {tensor['shape']}  {shown}{rest}"


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else json.dumps(value)


def _flat(data: Any) -> list[Any]:
    if not isinstance(data, list):
        return [data]
    return [leaf for each in data for leaf in (_flat(each) if isinstance(each, list) else [each])]
