"""JSON Schemas of the resources, made from their types, for editors and for OpenAPI v3.

Absent and `null` mean the same in manifests, so no schema speaks of `null`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from salver.spec.catalogue import struct_of
from salver.spec.fields import Field, Shape, Trait, fields_of, shape_of, unwrap
from salver.spec.kinds import ResourceType

JsonSchema = dict[str, Any]

_SIMPLE: dict[str, JsonSchema] = {
    "text": {"type": "string"},
    "integer": {"type": "integer"},
    "number": {"type": "number"},
    "boolean": {"type": "boolean"},
    "any": {"x-kubernetes-preserve-unknown-fields": True},
    "text-or-integer": {
        "anyOf": [{"type": "integer"}, {"type": "string"}],
        "x-kubernetes-int-or-string": True,
    },
}
_QUANTITY: JsonSchema = {
    "anyOf": [{"type": "number"}, {"type": "string"}],
    "x-kubernetes-int-or-string": True,
}


def json_schema(struct: type[msgspec.Struct]) -> JsonSchema:
    """The schema of one type, complete in itself: the types of its parts are in `$defs`."""
    definitions = schema_components([struct], ref_prefix="#/$defs/")
    own = definitions.pop(schema_name(struct))
    head: JsonSchema = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return {**head, **own, "$defs": definitions}


def schema_of(type_: ResourceType, version: str) -> JsonSchema:
    """The schema of a kind and version; one that allows all where the server makes them."""
    struct = struct_of(type_, version)
    if struct is None:
        return {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return json_schema(struct)


def schema_components(
    structs: Iterable[type[msgspec.Struct]], *, ref_prefix: str = "#/components/schemas/"
) -> dict[str, JsonSchema]:
    """The schemas of types and of all their parts, by `schema_name`, each refers to others."""
    found: dict[str, JsonSchema] = {}
    waiting = list(structs)
    while waiting:
        struct = waiting.pop(0)
        name = schema_name(struct)
        if name in found:
            continue
        found[name] = _object(struct, ref_prefix)
        inner = (shape_of(field.type).struct for field in fields_of(struct))
        waiting += [each for each in inner if each is not None]
    return dict(sorted(found.items()))


def schema_name(struct: type[msgspec.Struct]) -> str:
    """A name of a type that no other type has, e.g. `kserve.PredictorSpec`."""
    return f"{struct.__module__.rpartition('.')[2]}.{struct.__name__}"


def _object(struct: type[msgspec.Struct], ref_prefix: str) -> JsonSchema:
    fields = fields_of(struct)
    schema: JsonSchema = {
        "title": struct.__name__,
        "description": " ".join((struct.__doc__ or "").split()),
        "type": "object",
        "properties": {field.name: _property(field, ref_prefix) for field in fields},
        "additionalProperties": False,
    }
    required = [field.name for field in fields if field.required]
    return {**schema, "required": required} if required else schema


def _property(field: Field, ref_prefix: str) -> JsonSchema:
    schema = _value(field.type, field.trait, ref_prefix)
    description = field.trait.description
    if field.trait.inert:
        description += " (it has no meaning on this backend)"
    if "$ref" in schema:
        schema = {"allOf": [schema]}
    if isinstance(field.default, str | int | bool) and field.default not in ("", False):
        schema = {**schema, "default": field.default}
    return {"description": description, **schema}


def _value(type_: Any, trait: Trait, ref_prefix: str) -> JsonSchema:
    shape = shape_of(type_)
    if shape.kind == "struct":
        return {"$ref": ref_prefix + schema_name(shape.item)}
    if shape.kind in ("list", "map"):
        item = _value(*unwrap(shape.item), ref_prefix)
        if shape.kind == "list":
            return {"type": "array", "items": item}
        return {"type": "object", "additionalProperties": item}
    return _scalar(shape, trait)


def _scalar(shape: Shape, trait: Trait) -> JsonSchema:
    if shape.choices:
        return {"type": "string", "enum": list(shape.choices)}
    if trait.format == "quantity":
        return dict(_QUANTITY)
    schema = dict(_SIMPLE[shape.kind])
    if trait.least is not None:
        schema["minimum"] = trait.least
    if trait.most is not None:
        schema["maximum"] = trait.most
    return schema
