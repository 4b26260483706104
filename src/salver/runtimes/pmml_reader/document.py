"""PMML's XML as plain elements, from files that nobody vouches for.

Owns the refusal of what XML can do beyond data: a DTD, entities, nesting without end. Names
come without their namespace.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO
from xml.parsers import expat

import msgspec

_MOST_LEVELS = 400


class BadDocument(ValueError):
    """The document is no PMML, or contradicts itself."""


class Unsupported(ValueError):
    """The document is PMML, but holds something that this reader does not know."""


class Element(msgspec.Struct):
    """One element; only built here, and only read afterwards."""

    tag: str
    attributes: dict[str, str]
    line: int
    children: list[Element]
    text: str = ""

    def get(self, name: str, default: str = "") -> str:
        return self.attributes.get(name, default)

    def need(self, name: str) -> str:
        """The attribute. Raises `BadDocument` if it is not there."""
        value = self.attributes.get(name)
        if value is None:
            raise BadDocument(f"{self.where} lacks its attribute {name}")
        return value

    def number(self, name: str, default: float) -> float:
        """The attribute as a number. Raises `BadDocument` if it is none."""
        text = self.attributes.get(name)
        return default if text is None else number_of(text, self)

    def first(self, *tags: str) -> Element | None:
        return next((each for each in self.children if each.tag in tags), None)

    def all(self, *tags: str) -> Iterator[Element]:
        return (each for each in self.children if each.tag in tags)

    @property
    def where(self) -> str:
        return f"{self.tag} (line {self.line})"


def number_of(text: str, element: Element) -> float:
    try:
        return float(text)
    except ValueError:
        raise BadDocument(f"{element.where} has '{text[:40]}' where a number should be") from None


def parse(data: bytes | BinaryIO) -> Element:
    """The root of the document, a text, or a file that is read piece by piece.

    Raises `BadDocument` for what is no XML, or more than data.
    """
    builder = _Builder()
    parser = expat.ParserCreate()
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = _refuse_doctype
    parser.EntityDeclHandler = _refuse_doctype
    parser.StartElementHandler = lambda tag, given: builder.start(tag, given, parser)
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.characters
    try:
        if isinstance(data, bytes):
            parser.Parse(data, True)
        else:
            parser.ParseFile(data)
    except (expat.ExpatError, LookupError) as error:
        raise BadDocument(f"it is no well-formed XML: {error}") from error
    return builder.root.children[0]


def _refuse_doctype(*_: Any) -> None:
    raise BadDocument("it has a DTD, which PMML does not need and which may hide entities")


class _Builder:
    def __init__(self) -> None:
        self.root = Element("", {}, 0, [])
        self._open = [self.root]

    def start(self, tag: str, attributes: dict[str, str], parser: Any) -> None:
        if len(self._open) > _MOST_LEVELS:
            raise BadDocument(f"it is nested more than {_MOST_LEVELS} levels deep")
        element = Element(_bare(tag), attributes, parser.CurrentLineNumber, [])
        if element.tag == "Extension":
            element.attributes = {}
        else:
            self._open[-1].children.append(element)
        self._open.append(element)

    def end(self, tag: str) -> None:
        self._open.pop()

    def characters(self, text: str) -> None:
        self._open[-1].text += text


def _bare(tag: str) -> str:
    return tag.rpartition(":")[2]
