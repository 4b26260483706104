"""How the types of resources are written down, and what can be asked of them.

A field is `name: Annotated[type, about("what it means")] = default`; its JSON name is the
camelCase of its attribute. Reading (`decode.py`), `explain.py` and `schema.py` all work from
`fields_of`, so that a field is described once. Nothing here reads a value.
"""

from __future__ import annotations

import functools
import operator
import types
from functools import cache
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec

Format = Literal["", "quantity", "name", "uri"]


class Trait(msgspec.Struct, frozen=True):
    """What a field has beyond its type. `inert`: it is read, but this backend has no use for it.

    `least` and `most` bound numbers. `format`: `quantity` is a Kubernetes quantity (numbers are
    read as their text), `name` a DNS label, `uri` an absolute address.
    """

    description: str = ""
    inert: bool = False
    least: int | None = None
    most: int | None = None
    format: Format = ""


class Field(msgspec.Struct, frozen=True):
    """One field of a type: its attribute, its name in JSON, its type without annotations."""

    attribute: str
    name: str
    type: Any
    trait: Trait
    required: bool
    default: Any = None


class Fields(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """The base of all types of resources and of their parts."""


def about(
    description: str,
    *,
    inert: bool = False,
    least: int | None = None,
    most: int | None = None,
    format: Format = "",
) -> msgspec.Meta:
    """The description and traits of a field, for use in `Annotated`."""
    trait = Trait(description, inert, least, most, format)
    return msgspec.Meta(description=description, extra={"trait": trait})


@cache
def fields_of(struct: type[msgspec.Struct]) -> tuple[Field, ...]:
    """The fields of a type, in the order in which they are declared."""
    hints = get_type_hints(struct, include_extras=True)
    return tuple(_field(info, hints[info.name]) for info in msgspec.structs.fields(struct))


def _field(info: msgspec.structs.FieldInfo, hint: Any) -> Field:
    plain, trait = unwrap(hint)
    return Field(
        info.name,
        info.encode_name,
        plain,
        trait,
        info.required,
        None if info.required else default_of(info),
    )


def default_of(info: msgspec.structs.FieldInfo) -> Any:
    """The value of an absent field."""
    if info.default is not msgspec.NODEFAULT:
        return info.default
    return info.default_factory()


def unwrap(hint: Any) -> tuple[Any, Trait]:
    """A type without `Annotated` and without `None`, and the trait it was annotated with.

    Of nested annotations the outermost description counts, and the bounds of all.
    """
    trait = Trait()
    while True:
        if get_origin(hint) is Annotated:
            hint, *metadata = get_args(hint)
            for each in reversed(metadata):
                trait = _merged(trait, each)
        elif get_origin(hint) in (Union, types.UnionType):
            options = [each for each in get_args(hint) if each is not type(None)]
            if len(options) != 1:
                return functools.reduce(operator.or_, options), trait
            hint = options[0]
        else:
            return hint, trait


def _merged(outer: Trait, metadata: Any) -> Trait:
    extra = metadata.extra if isinstance(metadata, msgspec.Meta) else None
    inner = (extra or {}).get("trait")
    if inner is None:
        return outer
    return Trait(
        description=outer.description or inner.description,
        inert=outer.inert or inner.inert,
        least=inner.least if outer.least is None else outer.least,
        most=inner.most if outer.most is None else outer.most,
        format=outer.format or inner.format,
    )


class Shape(msgspec.Struct, frozen=True):
    """What a value of a type looks like: one of `any`, `text`, `integer`, `number`, `boolean`,
    `choice` (of `choices`), `list` or `map` (of `item`), `struct`, `text-or-integer`."""

    kind: str
    item: Any = None
    choices: tuple[str, ...] = ()

    @property
    def struct(self) -> type[msgspec.Struct] | None:
        """The struct that values or their items are, if they are."""
        if self.kind == "struct":
            return self.item  # type: ignore[no-any-return]
        if self.kind in ("list", "map"):
            return shape_of(unwrap(self.item)[0]).struct
        return None


_PLAIN = {str: "text", int: "integer", float: "number", bool: "boolean", Any: "any"}


@cache
def shape_of(type_: Any) -> Shape:
    """The shape of a type that `unwrap` has returned."""
    if type_ in _PLAIN:
        return Shape(_PLAIN[type_])
    origin, arguments = get_origin(type_), get_args(type_)
    if origin is Literal:
        return Shape("choice", choices=arguments)
    if origin is tuple:
        return Shape("list", arguments[0])
    if origin is dict:
        return Shape("map", arguments[1])
    if isinstance(type_, type) and issubclass(type_, msgspec.Struct):
        return Shape("struct", type_)
    if set(arguments) == {str, int}:
        return Shape("text-or-integer")
    raise TypeError(f"{type_} is no type that fields of resources have")
