"""What is wrong with a text that is no YAML, in words for people, and where."""

from __future__ import annotations

import re
from typing import Any

import msgspec

from salver.spec.problems import quoted

YAML_TAG = "tag:yaml.org,2002:"


class Mark(msgspec.Struct, frozen=True):
    """A place in a text; both count from 1."""

    line: int
    column: int


class Fault(Exception):
    def __init__(self, mark: Mark, message: str) -> None:
        super().__init__(message)
        self.mark = mark
        self.message = message


def tag_fault(tag: str, mark: Mark) -> Fault:
    """The fault of a tag that is not one of YAML's own."""
    short = tag.replace(YAML_TAG, "!!", 1)
    return Fault(mark, f"the tag {quoted(short)} is not allowed; remove it")


def unreadable(text: str, first_line: int) -> Fault:
    """The fault of a text with characters that YAML does not allow."""
    found = re.search(r"[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", text)
    line = text.count("\n", 0, found.start()) if found else 0
    character = f" U+{ord(found[0]):04X}" if found else ""
    return Fault(
        Mark(first_line + line + 1, 1),
        f"is not text: the character{character} is not allowed; is this a manifest, in UTF-8?",
    )


_SYNTAX = (
    ("mapping values are not allowed", "a ':' where none is expected; quote the text, or compare "
     "the indentation of this line with the one before"),
    ("did not find expected key", "a line that is not indented as those around it, or a key "
     "without ':'"),
    ("could not find expected ':'", "a key without ':'"),
    ("did not find expected '-' indicator", "a line that is not indented as the list before it"),
    ("did not find expected ',' or", "a bracket that is not closed, or a ',' missing "
     "after it"),
    ("found unexpected end of stream", "a quote or bracket that is never closed"),
    ("found unexpected document indicator", "a quote that is never closed"),
    ("did not find expected node content", "a place where a value is missing"),
    ("block sequence entries are not allowed", "a list item where none is expected; put it on a "
     "line of its own"),
    ("did not find expected <document start>", "two values where one is expected; put '---' "
     "between resources"),
)  # fmt: skip


_UNCLOSED = ("end of stream", "document indicator", "did not find expected ','")


def syntax_fault(error: Any, text: str, first_line: int) -> Fault:
    """PyYAML's error in words for people who never saw a parser; lines are those of `text`."""
    at = error.problem_mark or error.context_mark
    if error.context_mark is not None and any(each in error.problem for each in _UNCLOSED):
        at = error.context_mark
    if at is None:
        return Fault(Mark(first_line + 1, 1), _syntax_message(error, ""))
    lines = text.splitlines()
    found = lines[at.line][at.column : at.column + 1] if at.line < len(lines) else ""
    line = min(at.line + 1, max(len(lines), 1))
    return Fault(Mark(first_line + line, at.column + 1), _syntax_message(error, found))


def _syntax_message(error: Any, found: str) -> str:
    problem = error.problem or ""
    if "cannot start any token" in problem or (found == "\t" and "find" in problem):
        what = f"{found!r} before a text; quote it"
        what = "a tab; use spaces" if found == "\t" else what
        return f"not valid YAML: {what}"
    for known, what in _SYNTAX:
        if known in problem:
            return f"not valid YAML: {what}"
    return f"not valid YAML: {error.context + ': ' if error.context else ''}{problem}"
