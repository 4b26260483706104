"""From the text of a `config.pbtxt` to its values, with all that is wrong and what has no effect.

Pure: text in, values out. What a field may hold is read off the types of `triton_config.py`; what
contradicts what is in `triton_checks.py`. A fault names the line and the field.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec

from salver.errors import ArtifactError
from salver.spec.problems import Note, Problem, did_you_mean, path_text, quoted
from salver.spec.triton_checks import check_config
from salver.spec.triton_config import CHOICES, IGNORED, TritonConfig
from salver.spec.triton_text import Field, Message, Scalar, SyntaxFault, read_text

_MOST_PROBLEMS = 100
_WHOLE = re.compile(r"-?(?:0[xX][0-9a-fA-F]+|\d+)\Z")
_LIMITS = (-(1 << 63), (1 << 64) - 1)

_Path = tuple[str | int, ...]


class TritonReading(msgspec.Struct, frozen=True):
    """`config` is None if there are problems."""

    config: TritonConfig | None
    problems: tuple[Problem, ...] = ()
    notes: tuple[Note, ...] = ()


def read_triton_config(text: str, source: str) -> TritonReading:
    """The configuration in a text; `source` is what messages call it. Raises nothing."""
    try:
        message = read_text(text)
    except SyntaxFault as fault:
        return TritonReading(None, (Problem(source, fault.line, 0, "", str(fault)),))
    reader = _Reader(source)
    config = reader.struct(TritonConfig, message, ())
    if not reader.problems:
        for path, found in check_config(config):
            reader.fault(reader.line_of(path), path, found)
    problems = tuple(reader.problems[:_MOST_PROBLEMS])
    return TritonReading(None if problems else config, problems, tuple(reader.notes))


def triton_config(text: str, source: str) -> TritonConfig:
    """The configuration in a text. Raises `ArtifactError` with all that is wrong."""
    reading = read_triton_config(text, source)
    if reading.config is None:
        raise ArtifactError("; ".join(str(problem) for problem in reading.problems))
    return reading.config


class _Reader:
    """Reads one text, and keeps what is found to be wrong and where fields are."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._lines: dict[_Path, int] = {}
        self.problems: list[Problem] = []
        self.notes: list[Note] = []

    def fault(self, line: int, path: _Path, message: str) -> None:
        self.problems.append(Problem(self._source, line, 0, path_text(path), message))

    def line_of(self, path: _Path) -> int:
        """The line of the field at the path, or of the nearest one around it."""
        while path and path not in self._lines:
            path = path[:-1]
        return self._lines.get(path, 1)

    def struct(self, kind: type[Any], message: Message, path: _Path) -> Any:
        """The message as a value of that type."""
        hints = _hints(kind)
        found: dict[str, list[Any]] = {}
        for field in message.fields:
            hint = hints.get(field.name)
            if hint is None:
                self._unknown(kind, field, path)
                continue
            if field.value is None:
                self._check_empty(hint, field, path)
                continue
            values = found.setdefault(field.name, [])
            inner: _Path = (*path, field.name)
            if _is_repeated(hint):
                inner = (*inner, len(values))
            elif values:
                self.fault(field.line, inner, "is given twice: it can have one value only")
            self._lines.setdefault(inner, field.line)
            self._lines.setdefault((*path, field.name), field.line)
            values.append(self._value(_element(hint), field.value, inner))
        self._check_choices(kind, found, message, path)
        return kind(
            **{
                _attribute(kind, name): self._whole(hints[name], each)
                for name, each in found.items()
            }
        )

    def _check_empty(self, hint: Any, field: Field, path: _Path) -> None:
        """A list without values is right for what may be repeated."""
        if not _is_repeated(hint):
            self.fault(field.line, (*path, field.name), f"is no list: write {_wanted(hint)}")

    def _check_choices(
        self, kind: type[Any], found: Mapping[str, object], message: Message, path: _Path
    ) -> None:
        for names in CHOICES.get(kind, ()):
            given = [each.name for each in message.fields if each.name in names]
            if len(set(given)) > 1:
                line = self.line_of((*path, given[-1]))
                text = f"can have one of {', '.join(dict.fromkeys(given))} only: leave out others"
                self.fault(line, (*path, given[-1]), text)

    def _whole(self, hint: Any, values: list[Any]) -> Any:
        """All values of a field as the type has them."""
        origin = get_origin(hint)
        if origin is tuple:
            return tuple(values)
        if origin is Mapping:
            return {each[0]: each[1] for each in values if each is not None}
        return values[0]

    def _unknown(self, kind: type[Any], field: Field, path: _Path) -> None:
        ignored = IGNORED.get(kind, frozenset())
        inner = (*path, field.name)
        if field.name in ignored:
            place = path_text(inner)
            self.notes.append(Note(self._source, field.line, 0, place, "has no effect here"))
            return
        known = (*_hints(kind), *ignored)
        meant = did_you_mean(field.name, known)
        self.fault(field.line, inner, f"is no field of Triton's configuration{meant}")

    def _value(self, hint: Any, value: Scalar | Message, path: _Path) -> Any:
        """One value of a field; something of the type even if it is wrong."""
        if get_origin(hint) is Mapping:
            return self._entry(hint, value, path)
        if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
            if isinstance(value, Message):
                return self.struct(hint, value, path)
            self.fault(value.line, path, "is a message: write its fields between braces")
            return hint()
        if isinstance(value, Message):
            self.fault(value.line, path, f"has no fields: write {_wanted(hint)}")
            return _blank(hint)
        try:
            return _scalar(hint, value)
        except ValueError as error:
            shown = value.data.decode(errors="replace") if value.data is not None else value.text
            said = f"{error}, found {quoted(shown)}" if str(error) else f"found {quoted(shown)}"
            self.fault(value.line, path, said)
            return _blank(hint)

    def _entry(self, hint: Any, value: Scalar | Message, path: _Path) -> Any:
        """A map's entry: its key and its value."""
        if isinstance(value, Scalar):
            self.fault(value.line, path, "is a map: write { key: ... value: ... } for each entry")
            return None
        key_hint, value_hint = get_args(hint)
        key, content = _blank(key_hint), _blank(value_hint)
        for field in value.fields:
            if field.value is None:
                self.fault(field.line, (*path, field.name), "is no list: write one value")
            elif field.name == "key":
                key = self._value(key_hint, field.value, (*path, "key"))
            elif field.name == "value":
                content = self._value(value_hint, field.value, (*path, str(key)))
            else:
                meant = did_you_mean(field.name, ("key", "value"))
                self.fault(field.line, (*path, field.name), f"is neither key nor value{meant}")
        return key, content


@cache
def _all_hints() -> dict[object, Mapping[str, Any]]:
    return {}


def _hints(kind: type[Any]) -> Mapping[str, Any]:
    """The types of the fields, without `| None`; reading them off takes a while, so once."""
    kept = _all_hints()
    if kind not in kept:
        kept[kind] = {
            name.removesuffix("_"): _plain(hint) for name, hint in get_type_hints(kind).items()
        }
    return kept[kind]


def _attribute(kind: type[Any], name: str) -> str:
    """What the field is called in the type: a word of Python's own has an underscore behind it."""
    return name if name in kind.__struct_fields__ else f"{name}_"


def _plain(hint: Any) -> Any:
    if get_origin(hint) in (Union, UnionType):
        return next(each for each in get_args(hint) if each is not type(None))
    return hint


def _is_repeated(hint: Any) -> bool:
    return get_origin(hint) in (tuple, Mapping)


def _element(hint: Any) -> Any:
    return get_args(hint)[0] if get_origin(hint) is tuple else hint


def _blank(hint: Any) -> Any:
    if get_origin(hint) is Literal:
        return get_args(hint)[0]
    return hint()


def _wanted(hint: Any) -> str:
    if get_origin(hint) is Literal:
        return f"one of {', '.join(get_args(hint))}"
    return {int: "a whole number", float: "a number", bool: "true or false"}.get(
        hint, "a text in quotes"
    )


def _scalar(hint: Any, value: Scalar) -> Any:
    """The value in its type. Raises `ValueError` saying what it must be."""
    wanted = f"must be {_wanted(hint)}"
    if hint is str:
        if value.data is None:
            raise ValueError(wanted)
        try:
            return value.data.decode()
        except UnicodeDecodeError:
            raise ValueError("must be a text in UTF-8") from None
    if value.data is not None:
        raise ValueError(wanted)
    text = value.text
    if hint is bool:
        words = {"true": True, "True": True, "t": True, "1": True}
        words |= {"false": False, "False": False, "f": False, "0": False}
        if text in words:
            return words[text]
    elif hint is int:
        if _WHOLE.match(text) and len(text) < 32:
            number = _integer(text)
            if _LIMITS[0] <= number <= _LIMITS[1]:
                return number
    elif hint is float:
        return _float(text, wanted)
    else:
        return _choice(hint, text, wanted)
    raise ValueError(wanted)


def _integer(text: str) -> int:
    """Decimal, hexadecimal (0x) or octal (a leading 0), as the text format has them."""
    digits = text.removeprefix("-")
    base = 16 if digits[:2].lower() == "0x" else 8 if digits[:1] == "0" and len(digits) > 1 else 10
    return -int(digits, base) if text.startswith("-") else int(digits, base)


def _float(text: str, wanted: str) -> float:
    plain = text if text[:2].lower() == "0x" or "inf" in text.lower() else text.rstrip("fF")
    try:
        return float(plain)
    except ValueError:
        raise ValueError(wanted) from None


def _choice(hint: Any, text: str, wanted: str) -> str:
    """A word of an enumeration, by its name or its number."""
    words = get_args(hint)
    if text in words:
        return str(text)
    if text.isdecimal() and int(text[:4]) < len(words):
        return str(words[int(text[:4])])
    meant = did_you_mean(text, words)
    raise ValueError(f"{wanted}{meant}")
