"""JSON values to typed resources: every fault of an object is found, not just the first.

Decides what is of the wrong type, missing, unknown or out of range. What contradicts what is
`checks.py`'s. Types are those of `fields.py`; a field with a fault gets a harmless value, so
that reading can go on.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

import msgspec

from salver.spec.fields import Field, Shape, Trait, fields_of, shape_of, unwrap
from salver.spec.problems import Finding, Path, did_you_mean, nearest, path_text, quoted
from salver.spec.yaml_scalars import YES_NO

AnyStruct = TypeVar("AnyStruct", bound=msgspec.Struct)

_QUANTITY = re.compile(r"[-+]?[0-9]*\.?[0-9]+([eE][-+]?[0-9]+|[KMGTPE]i|[numkMGTPE])?")
# Looking for what was meant takes time, which a caller of the API must not be able to take.
_MOST_ADVISED = 50
_MOST_INTEGER = 2**63 - 1
_ZEROS: dict[str, Any] = {"text": "", "integer": 0, "number": 0.0, "boolean": False, "any": None}


class Decoder:
    """Reads one object. `plain` has the unquoted scalars of its text, if it has one, in which
    the object is at `base`.

    After `read`: `problems`; `inert`, the fields that have no effect here; `corrections`, values
    that were written otherwise than they are meant (`version: 1.10`); and `meant`, the fields that
    unknown ones were probably meant to be.
    """

    def __init__(self, plain: Mapping[Path, str] | None = None, base: Path = ()) -> None:
        self.problems: list[Finding] = []
        self.inert: list[Finding] = []
        self.corrections: list[tuple[Path, Any]] = []
        self.meant: list[Path] = []
        self._plain = plain or {}
        self._base = base
        self._unknown_fields = 0
        self._parents: list[tuple[Path, type[msgspec.Struct]]] = []

    def read(self, raw: Any, struct: type[AnyStruct], path: Path = ()) -> AnyStruct:
        """The object as that type; what of it could not be read is as if it were absent."""
        value: AnyStruct = self._struct(raw, struct, path)
        return value

    def _struct(self, raw: Any, struct: type[msgspec.Struct], path: Path) -> Any:
        entries = raw if isinstance(raw, dict) else {}
        if raw is not entries:
            self._wrong(path, "a mapping", raw)
        self._parents.append((path, struct))
        fields = {field.name: field for field in fields_of(struct)}
        guesses = {
            self._unknown(name, fields, path, entries) for name in entries if name not in fields
        }
        values = {}
        for name, field in fields.items():
            if entries.get(name) is not None:
                values[field.attribute] = self._field(entries[name], field, (*path, name))
            elif field.required:
                values[field.attribute] = self._missing(field, name in guesses, raw, path)
        self._parents.pop()
        return struct(**values)

    def _field(self, raw: Any, field: Field, path: Path) -> Any:
        if field.trait.inert and raw not in ({}, []):
            self.inert.append((path, field.trait.description))
        if raw == "" and field.required and shape_of(field.type).kind == "text":
            self.problems.append((path, f"must not be empty: {field.trait.description}"))
            return raw
        return self._value(raw, field.type, field.trait, path)

    def _missing(self, field: Field, is_guessed: bool, raw: Any, path: Path) -> Any:
        if not is_guessed and isinstance(raw, dict):
            self.problems.append(((*path, field.name), "is required, but missing"))
        return _harmless(field.type)

    def _unknown(
        self, name: str, fields: Mapping[str, Field], path: Path, entries: Mapping[str, Any]
    ) -> str:
        """Reports a name that is no field; returns the field that was probably meant."""
        self._unknown_fields += 1
        if self._unknown_fields > _MOST_ADVISED:
            self.problems.append(((*path, name), "unknown field"))
            return ""
        meant = nearest(name, fields)
        advice = self._belongs(name, fields, entries, meant) or did_you_mean(name, fields)
        self.problems.append(((*path, name), f"unknown field{advice}"))
        if meant:
            self.meant.append((*path, meant))
        return meant

    def _belongs(
        self, name: str, fields: Mapping[str, Field], entries: Mapping[str, Any], meant: str
    ) -> str:
        """The advice for a field that is known one level below, somewhere above, or deeper.

        One of its own that is written almost so is nearer than those above and deeper.
        """
        is_slip = meant.lower().rstrip("s") == name.lower().rstrip("s")
        inner = [(field.name, each) for field, each in _inner(fields.values(), entries)]
        above = [
            (path_text(path) or "the resource itself", struct)
            for path, struct in reversed(self._parents[:-1])
        ]
        deeper = [
            (f"{field.name}.{under.name}", struct)
            for field, each in _inner(fields.values(), entries)
            for under, struct in _inner(fields_of(each), {})
        ]
        for place, struct in inner if is_slip else (*inner, *above, *deeper):
            if _has(struct, name):
                return f"; it belongs in '{place}'"
        return ""

    def _value(self, raw: Any, type_: Any, trait: Trait, path: Path) -> Any:
        shape = shape_of(type_)
        if shape.kind == "any":
            return raw
        if shape.kind == "struct":
            return self._struct(raw, shape.item, path)
        if shape.kind == "list":
            return self._list(raw, shape, path)
        if shape.kind == "map":
            return self._map(raw, shape, path)
        return self._scalar(raw, shape, trait, path)

    def _list(self, raw: Any, shape: Shape, path: Path) -> tuple[Any, ...]:
        type_, trait = unwrap(shape.item)
        if not isinstance(raw, list):
            self._wrong(path, f"a list of {_plural(type_)}", raw)
            return ()
        return tuple(
            self._value(item, type_, trait, (*path, index)) for index, item in enumerate(raw)
        )

    def _map(self, raw: Any, shape: Shape, path: Path) -> dict[str, Any]:
        type_, trait = unwrap(shape.item)
        if not isinstance(raw, dict):
            self._wrong(path, f"a mapping of names to {_plural(type_)}", raw)
            return {}
        return {
            name: self._value("" if item is None and type_ is str else item, type_, trait,
                              (*path, name))
            for name, item in raw.items()
        }  # fmt: skip

    def _scalar(self, raw: Any, shape: Shape, trait: Trait, path: Path) -> Any:
        if shape.kind == "text":
            return self._text(raw, trait, path)
        if shape.kind == "choice":
            return self._choice(raw, shape, path)
        if shape.kind == "boolean":
            return self._boolean(raw, path)
        if shape.kind == "text-or-integer":
            return self._text_or_integer(raw, path)
        return self._number(raw, shape, trait, path)

    def _text(self, raw: Any, trait: Trait, path: Path) -> str:
        if trait.format == "quantity":
            return self._quantity(raw, path)
        text = raw if isinstance(raw, str) else self._written(path)
        if text is None:
            self._wrong(path, "a text", raw)
            return ""
        if text is not raw:
            self.corrections.append((path, text))
        if trait.format == "uri" and not text:
            self.problems.append((path, "must not be empty: where the model is"))
        return text

    def _quantity(self, raw: Any, path: Path) -> str:
        is_number = isinstance(raw, int | float) and not isinstance(raw, bool)
        text = (self._written(path) or str(raw)) if is_number else raw
        if isinstance(text, str) and _QUANTITY.fullmatch(text):
            return text
        self._wrong(path, "a quantity such as 500m or 2Gi", raw)
        return ""

    def _choice(self, raw: Any, shape: Shape, path: Path) -> str:
        text = raw if isinstance(raw, str) else self._written(path)
        if text in shape.choices:
            if text != raw:
                self.corrections.append((path, text))
            return text
        choices = ", ".join(each for each in shape.choices if each)
        advice = did_you_mean(text, shape.choices) if text else ""
        self.problems.append((path, f"expected one of {choices}; found {_found(raw)}{advice}"))
        return shape.choices[0]

    def _boolean(self, raw: Any, path: Path) -> bool:
        if isinstance(raw, bool):
            return raw
        meant = YES_NO.get((self._written(path) or "").lower())
        if meant is None:
            self._wrong(path, "true or false", raw)
            return False
        self.corrections.append((path, meant))
        return meant

    def _text_or_integer(self, raw: Any, path: Path) -> str | int:
        if isinstance(raw, str) or (isinstance(raw, int) and not isinstance(raw, bool)):
            return raw
        self._wrong(path, "a whole number or a text", raw)
        return 0

    def _number(self, raw: Any, shape: Shape, trait: Trait, path: Path) -> int | float:
        is_whole = shape.kind == "integer"
        if isinstance(raw, bool) or not isinstance(raw, int if is_whole else (int, float)):
            self._wrong(path, "a whole number" if is_whole else "a number", raw)
            return _ZEROS[shape.kind]  # type: ignore[no-any-return]
        if not self._in_range(raw, trait, path):
            return _ZEROS[shape.kind]  # type: ignore[no-any-return]
        return raw

    def _written(self, path: Path) -> str | None:
        """The unquoted scalar at that path as it was written."""
        return self._plain.get((*self._base, *path))

    def _in_range(self, number: float, trait: Trait, path: Path) -> bool:
        least = -_MOST_INTEGER if trait.least is None else trait.least
        most = _MOST_INTEGER if trait.most is None else trait.most
        if least <= number <= most:
            return True
        limit = f"at least {least}" if number < least else f"at most {most}"
        if trait.least is not None and trait.most is not None:
            limit = f"between {least} and {most}"
        self.problems.append((path, f"must be {limit}, found {number}"))
        return False

    def _wrong(self, path: Path, expected: str, raw: Any) -> None:
        advice = ""
        if isinstance(raw, str) and expected in ("a whole number", "a number", "true or false"):
            advice = "; remove the quotes" if _is_quoted(raw, expected) else ""
        if expected.startswith("a list") and isinstance(raw, dict | str):
            advice = "; begin each item with '- '"
        if expected == "a mapping" and isinstance(raw, list):
            advice = "; remove the '- '"
        self.problems.append((path, f"expected {expected}, found {_found(raw)}{advice}"))


def correct(raw: Any, corrections: list[tuple[Path, Any]]) -> None:
    """Puts values right in the object they were read from."""
    for path, value in corrections:
        target = raw
        for step in path[:-1]:
            target = target[step]
        target[path[-1]] = value


def _inner(
    fields: Iterable[Field], entries: Mapping[str, Any]
) -> list[tuple[Field, type[msgspec.Struct]]]:
    """The fields that have fields themselves, first those that are in the object."""
    found = [
        (field, struct)
        for field in fields
        if not field.trait.inert and (struct := shape_of(field.type).struct) is not None
    ]
    return sorted(found, key=lambda each: each[0].name not in entries)


def _has(struct: type[msgspec.Struct], name: str) -> bool:
    return any(field.name == name for field in fields_of(struct))


def _harmless(type_: Any) -> Any:
    """A value for a required field that could not be read."""
    shape = shape_of(type_)
    if shape.kind == "struct":
        fields = fields_of(shape.item)
        return shape.item(**{f.attribute: _harmless(f.type) for f in fields if f.required})
    if shape.kind in ("list", "map"):
        return () if shape.kind == "list" else {}
    return shape.choices[0] if shape.choices else _ZEROS.get(shape.kind, "")


def _plural(type_: Any) -> str:
    names = {"text": "texts", "integer": "whole numbers", "struct": "mappings"}
    return names.get(shape_of(type_).kind, "values")


def _is_quoted(raw: str, expected: str) -> bool:
    if expected == "true or false":
        return raw.lower() in ("true", "false")
    return re.fullmatch(r"-?[0-9]+" if "whole" in expected else r"-?[0-9.]+", raw) is not None


def _found(raw: Any) -> str:
    """A value as a message says what was found."""
    if raw is None:
        return "nothing"
    if isinstance(raw, bool):
        return "true" if raw else "false"
    if isinstance(raw, str):
        return f"the text {quoted(raw)}"
    if isinstance(raw, list):
        return "a list"
    if isinstance(raw, dict):
        return "a mapping"
    return str(raw)
