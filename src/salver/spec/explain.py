"""What a field of a resource is: the text of `salver explain isvc.spec.predictor.batcher`.

The layout is that of `kubectl explain`. Everything said is in the types.
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import Any

import msgspec

from salver.errors import ResourceNotFound
from salver.spec.catalogue import struct_of
from salver.spec.fields import Field, fields_of, shape_of, unwrap
from salver.spec.kinds import RESOURCE_TYPES, ResourceType
from salver.spec.problems import did_you_mean, quoted

_WIDTH = 88
_DEEPEST = 12


def explain(path: str, *, recursive: bool = False, api_version: str = "") -> str:
    """Explains a kind, or a field of it: `isvc`, `isvc.spec.predictor`. Raises
    `ResourceNotFound` for a kind or field that is not there, naming the nearest."""
    first, *steps = [step for step in path.strip().split(".") if step] or [""]
    type_, version, struct = _kind(first, api_version)
    field: Field | None = None
    inner: type[msgspec.Struct] | None = struct
    walked = first
    for step in steps:
        field = _field_named(step.removesuffix("[]"), inner, walked)
        walked += f".{step}"
        inner = shape_of(field.type).struct
    lines = [f"GROUP:      {type_.group}"] if type_.group else []
    lines += [f"KIND:       {type_.kind}", f"VERSION:    {version}", ""]
    if field is not None:
        lines += [f"FIELD: {field.name} <{type_name(field.type)}>{_required(field)}", ""]
    lines += ["DESCRIPTION:", *_description(field, inner), ""]
    if inner is not None:
        lines += ["FIELDS:", *_fields(inner, recursive)]
    return "\n".join(lines).rstrip() + "\n"


def type_name(type_: Any) -> str:
    """The type of a field for people: `string`, `[]Container`, `map[string]string`."""
    shape = shape_of(type_)
    if shape.kind in ("list", "map"):
        item = type_name(unwrap(shape.item)[0])
        return f"[]{item}" if shape.kind == "list" else f"map[string]{item}"
    names = {
        "text": "string",
        "integer": "integer",
        "number": "number",
        "boolean": "boolean",
        "choice": "string",
        "any": "Object",
        "text-or-integer": "IntOrString",
    }
    return names.get(shape.kind) or str(shape.item.__name__)


def _kind(name: str, api_version: str) -> tuple[ResourceType, str, type[msgspec.Struct]]:
    known: dict[str, ResourceType] = {}
    for each in RESOURCE_TYPES:
        if struct_of(each, each.versions[0]) is not None:
            for word in (each.plural, each.singular, each.kind, *each.short_names):
                known.setdefault(word.lower(), each)
    type_ = known.get(name.lower())
    if type_ is None:
        advice = did_you_mean(name, known) or f"; known: {', '.join(_kinds(known))}"
        raise ResourceNotFound(f"there is no kind {quoted(name)}{advice}")
    version = api_version.rpartition("/")[2] or type_.versions[0]
    struct = struct_of(type_, version) if version in type_.versions else None
    if struct is None:
        raise ResourceNotFound(
            f"there is no {type_.kind} {quoted(api_version)}; known: {', '.join(type_.versions)}"
        )
    return type_, version, struct


def _kinds(known: dict[str, ResourceType]) -> list[str]:
    return sorted({each.singular for each in known.values()})


def _field_named(name: str, struct: type[msgspec.Struct] | None, walked: str) -> Field:
    if struct is None:
        raise ResourceNotFound(f"{walked} has no fields, so no {quoted(name)}")
    fields = {field.name: field for field in fields_of(struct)}
    found = fields.get(name) or {key.lower(): each for key, each in fields.items()}.get(
        name.lower()
    )
    if found is None:
        advice = did_you_mean(name, fields) or f"; it has {', '.join(fields)}"
        raise ResourceNotFound(f"{walked} has no field {quoted(name)}{advice}")
    return found


def _description(field: Field | None, struct: type[msgspec.Struct] | None) -> list[str]:
    texts = []
    if field is not None:
        texts.append(_sentence(field))
    if struct is not None and struct.__doc__:
        texts.append(" ".join(struct.__doc__.split()))
    return [line for text in texts for line in _wrapped(text, "    ")]


def _sentence(field: Field) -> str:
    """The description of a field, and what bounds it."""
    text = field.trait.description
    shape = shape_of(field.type)
    if shape.choices:
        text += f". One of: {', '.join(each for each in shape.choices if each)}"
    least, most = field.trait.least, field.trait.most
    if least is not None:
        text += f". From {least} to {most}" if most is not None else f". At least {least}"
    if field.trait.inert:
        text += ". It has no meaning on this backend"
    return f"{text[:1].upper()}{text[1:]}." if text else ""


def _fields(struct: type[msgspec.Struct], recursive: bool) -> Iterator[str]:
    if recursive:
        yield from _tree(struct, "  ", ())
        return
    for field in sorted(fields_of(struct), key=lambda field: field.name):
        yield f"  {field.name} <{type_name(field.type)}>{_required(field)}"
        yield from _wrapped(_sentence(field), "    ")
        yield ""


def _tree(struct: type[msgspec.Struct], indent: str, above: tuple[Any, ...]) -> Iterator[str]:
    for field in sorted(fields_of(struct), key=lambda field: field.name):
        yield f"{indent}{field.name} <{type_name(field.type)}>{_required(field)}"
        inner = shape_of(field.type).struct
        is_shown = not field.trait.inert and inner not in above and len(above) < _DEEPEST
        if inner is not None and is_shown:
            yield from _tree(inner, indent + "  ", (*above, struct))


def _required(field: Field) -> str:
    return " -required-" if field.required else ""


def _wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent=indent, subsequent_indent=indent)
