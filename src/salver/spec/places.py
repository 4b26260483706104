"""Where in a text an object is, so that findings about it become problems on their lines."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

import msgspec

from salver.spec.problems import Finding, Note, Path, Problem, on_one_line, path_text
from salver.spec.yaml_faults import Mark
from salver.spec.yaml_source import Document

AnyProblem = TypeVar("AnyProblem", bound=Problem)


class Place(msgspec.Struct, frozen=True):
    """The text's name, the document if the object came from one, and the object's path in it."""

    source: str = ""
    document: Document | None = None
    base: Path = ()

    def mark(self, path: Path) -> Mark:
        """The line and column of a path of the object; zeros if there is no text."""
        if self.document is None:
            return Mark(0, 0)
        return self.document.mark((*self.base, *path))

    def problem(self, finding: Finding) -> Problem:
        """The finding as a problem, on its line."""
        path, message = finding
        mark = self.mark(path)
        full = path_text((*self.base, *path))
        return Problem(self.source, mark.line, mark.column, full, on_one_line(message))

    def note(self, finding: Finding) -> Note:
        """The finding as a note, on its line."""
        return Note(*msgspec.structs.astuple(self.problem(finding)))


def in_order(problems: Iterable[AnyProblem]) -> tuple[AnyProblem, ...]:
    """By line, without repetition; else in the order they were found."""
    return tuple(sorted(dict.fromkeys(problems), key=lambda problem: problem.line))
