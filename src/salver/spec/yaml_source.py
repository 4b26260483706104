"""YAML or JSON text as JSON values, each with its place in the text.

Texts are read as people mean them where YAML 1.1 would surprise them: `on`, `yes` and `no`
stay texts, dates too; and what a plain number looked like is kept (`1.10`), for fields that
take a text. A text cannot take more memory or time than its size allows: depth, aliases and
size are bounded. Nothing here knows what the values mean.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from salver.spec.problems import Finding, Path, did_you_mean, quoted
from salver.spec.yaml_faults import YAML_TAG, Fault, Mark, syntax_fault, tag_fault, unreadable
from salver.spec.yaml_scalars import YES_NO, plain_value

MAX_TEXT_BYTES = 32 << 20
MAX_DEPTH = 64
MAX_ALIASED_VALUES = 20_000
MAX_FAULTS = 50


class Document(msgspec.Struct, frozen=True):
    """One document of a text.

    `marks` has the place of every value, for an entry of a mapping that of its key. `plain`
    has the text of every unquoted scalar that is no ordinary text: numbers, `true`, `yes`.
    `findings` are faults such as keys given twice. After a fault of syntax `value` is None.
    """

    value: Any
    marks: Mapping[Path, Mark]
    plain: Mapping[Path, str]
    findings: tuple[Finding, ...] = ()

    def mark(self, path: Path) -> Mark:
        """Where a path is, or the nearest value above it."""
        while path and path not in self.marks:
            path = path[:-1]
        return self.marks.get(path, Mark(1, 1))


def first_value(text: str) -> tuple[Any, str]:
    """What the first document of a text says, None of an empty one; and else what keeps it from
    being read, with its place."""
    documents = read_documents(text)
    if not documents:
        return None, ""
    first = documents[0]
    if first.value is None and first.findings:
        where = first.mark(())
        return None, f"line {where.line}, column {where.column}: {first.findings[0][1]}"
    return first.value, ""


def read_documents(text: str) -> list[Document]:
    """The documents of a text that are not empty; faulty ones too, with their findings."""
    if len(text) > MAX_TEXT_BYTES:
        message = f"is larger than {MAX_TEXT_BYTES >> 20} MiB; split it into several files"
        return [_fault(Mark(1, 1), message)]
    documents: list[Document] = []
    first_line = faults = 0
    text = _joined_surrogates(text)
    lines: list[str] | None = None
    while True:
        try:
            for document in _documents(text, first_line):
                documents.append(document)
            return documents
        except Fault as fault:
            documents.append(_fault(fault.mark, fault.message))
            lines = text.splitlines(keepends=True) if lines is None else lines
            rest = _next_document(lines, fault.mark.line - first_line)
            faults += 1
            if rest is None or faults > MAX_FAULTS:
                return documents
            lines, first_line = lines[rest:], first_line + rest
            text = "".join(lines)


def _joined_surrogates(text: str) -> str:
    """JSON may write a character beyond 16 bits as two escapes, YAML may not."""
    if text.lstrip()[:1] not in ("{", "["):
        return text
    pair = r"(?<!\\)((?:\\\\)*)\\u([dD][89abAB]..)\\u([dD][c-fC-F]..)"
    return re.sub(pair, _joined_pair, text)


def _joined_pair(pair: re.Match[str]) -> str:
    try:
        high, low = int(pair[2], 16) - 0xD800, int(pair[3], 16) - 0xDC00
    except ValueError:
        return pair[0]
    return pair[1] + chr(0x10000 + (high << 10) + low)


def _next_document(lines: list[str], after: int) -> int | None:
    """The index of the first line that begins a document, from line number `after` on."""
    if after > 1 and re.fullmatch(r"---\s*", lines[min(after, len(lines)) - 1]):
        return after - 1
    for index in range(max(after, 1), len(lines)):
        if re.match(r"---(\s|$)", lines[index]):
            return index
    return None


def _fault(mark: Mark, message: str) -> Document:
    return Document(None, {(): mark}, {}, (((), message),))


class _Node:
    """A value before aliases are expanded: a scalar, or children with their keys."""

    __slots__ = ("closed", "entries", "items", "mark", "plain", "value")

    def __init__(self, mark: Mark, value: Any = None, plain: str | None = None) -> None:
        self.mark = mark
        self.value = value
        self.plain = plain
        self.entries: list[tuple[_Node, _Node]] | None = None
        self.items: list[_Node] | None = None
        self.closed = True


def _documents(text: str, first_line: int) -> Iterator[Document]:
    for root in _roots(text, first_line):
        if root.entries is None and root.items is None and root.value is None:
            continue
        yield _Expansion(root).document()


def _events(text: str, first_line: int) -> Iterator[Any]:
    import yaml

    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        yield from yaml.parse(text, Loader=loader)
    except yaml.MarkedYAMLError as error:
        raise syntax_fault(error, text, first_line) from error
    except (yaml.YAMLError, UnicodeEncodeError) as error:
        raise unreadable(text, first_line) from error


def _roots(text: str, first_line: int) -> Iterator[_Node]:
    """Builds nodes from events, without recursion, so that depth cannot exhaust a stack."""
    stack: list[tuple[_Node, _Node | None]] = []
    anchors: dict[str, _Node] = {}
    root: _Node | None = None
    key: _Node | None = None
    for event in _events(text, first_line):
        kind = type(event).__name__
        mark = Mark(first_line + event.start_mark.line + 1, event.start_mark.column + 1)
        if kind == "DocumentStartEvent":
            anchors, root, key = {}, None, None
        elif kind == "DocumentEndEvent" and root is not None:
            yield root
        elif kind in ("MappingEndEvent", "SequenceEndEvent"):
            node, key = stack.pop()
            node.closed = True
        elif kind in ("ScalarEvent", "AliasEvent", "MappingStartEvent", "SequenceStartEvent"):
            node = _node(event, kind, mark, anchors)
            if not stack:
                root = root or node
            elif (entries := stack[-1][0].entries) is None:
                stack[-1][0].items.append(node)  # type: ignore[union-attr]
            elif key is None:
                key = node
            else:
                entries.append((key, node))
                key = None
            if kind.endswith("StartEvent"):
                if len(stack) >= MAX_DEPTH:
                    raise Fault(mark, f"is nested deeper than {MAX_DEPTH} levels")
                stack.append((node, key))
                key = None


def _node(event: Any, kind: str, mark: Mark, anchors: dict[str, _Node]) -> _Node:
    if kind == "AliasEvent":
        if event.anchor not in anchors:
            advice = did_you_mean(event.anchor, anchors)
            message = f"the alias {quoted(event.anchor)} has no anchor in this document{advice}"
            raise Fault(mark, message)
        if not anchors[event.anchor].closed:
            raise Fault(mark, f"the alias {quoted(event.anchor)} is within what it stands for")
        return anchors[event.anchor]
    if kind != "ScalarEvent" and event.tag not in (None, "!", YAML_TAG + "map", YAML_TAG + "seq"):
        raise tag_fault(event.tag, mark)
    node = _scalar(event, mark) if kind == "ScalarEvent" else _Node(mark)
    if kind == "MappingStartEvent":
        node.entries, node.closed = [], False
    elif kind == "SequenceStartEvent":
        node.items, node.closed = [], False
    if event.anchor:
        anchors[event.anchor] = node
    return node


def _scalar(event: Any, mark: Mark) -> _Node:
    text: str = event.value
    if event.tag not in (None, "!"):
        return _tagged(event.tag, text, mark)
    if not event.implicit[0]:
        return _Node(mark, text)
    value = plain_value(text)
    is_word = isinstance(value, str) and value.lower() in YES_NO
    is_text = isinstance(value, str) and not is_word
    return _Node(mark, value, None if is_text or value is None else text)


def _tagged(tag: str, text: str, mark: Mark) -> _Node:
    name = tag.removeprefix(YAML_TAG)
    if name == "str":
        return _Node(mark, text)
    if tag.startswith(YAML_TAG) and name in ("int", "float", "bool", "null"):
        return _Node(mark, plain_value(text), text)
    raise tag_fault(tag, mark)


class _Expansion:
    """Turns nodes into values, within the limits on what aliases may multiply."""

    def __init__(self, root: _Node) -> None:
        self._root = root
        self._marks: dict[Path, Mark] = {(): root.mark}
        self._plain: dict[Path, str] = {}
        self._findings: list[Finding] = []
        self._seen: set[int] = set()
        self._repeated = 0

    def document(self) -> Document:
        value = self._value(self._root, ())
        return Document(value, self._marks, self._plain, tuple(self._findings))

    def _value(self, node: _Node, path: Path) -> Any:
        self._count(node, path)
        if node.entries is not None:
            return self._mapping(node, path)
        if node.items is not None:
            for index, item in enumerate(node.items):
                self._marks[(*path, index)] = item.mark
            return [self._value(item, (*path, index)) for index, item in enumerate(node.items)]
        if node.plain is not None:
            self._plain[path] = node.plain
        return node.value

    def _count(self, node: _Node, path: Path) -> None:
        if len(path) > MAX_DEPTH:
            raise Fault(node.mark, f"is nested deeper than {MAX_DEPTH} levels")
        if id(node) in self._seen:
            self._repeated += 1
            if self._repeated > MAX_ALIASED_VALUES:
                message = f"its aliases stand for more than {MAX_ALIASED_VALUES} values"
                raise Fault(self._root.mark, message)
        self._seen.add(id(node))

    def _mapping(self, node: _Node, path: Path) -> dict[str, Any]:
        result: dict[str, Any] = {}
        merged: list[_Node] = []
        for key, value in node.entries or ():
            if key.entries is not None or key.items is not None:
                raise Fault(key.mark, "a list or mapping cannot be a key")
            name = key.plain or ("null" if key.value is None else str(key.value))
            if name == "<<":
                merged += value.items if value.items is not None else [value]
                continue
            here = (*path, name)
            if name in result:
                line = self._marks[here].line
                self._findings.append((here, f"is given twice, first in line {line}"))
            self._marks[here] = key.mark
            result[name] = self._value(value, here)
        for each in merged:
            result |= self._merged(each, path, result)
        return result

    def _merged(self, node: _Node, path: Path, known: Mapping[str, Any]) -> dict[str, Any]:
        """The entries of a mapping that is merged into that at `path`, but for those known."""
        if node.entries is None:
            raise Fault(node.mark, "only mappings can be merged with '<<'")
        marks, plain = self._marks, self._plain
        self._marks, self._plain = {}, {}
        values = self._mapping(node, path)
        depth = len(path)
        marks.update((at, each) for at, each in self._marks.items() if at[depth] not in known)
        plain.update((at, each) for at, each in self._plain.items() if at[depth] not in known)
        self._marks, self._plain = marks, plain
        return {name: value for name, value in values.items() if name not in known}
