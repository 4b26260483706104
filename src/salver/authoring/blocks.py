"""What tracing finds: straight runs of steps, and the questions between them that part the ways.

Values that grow while a graph is traced. Two records are the same step only if they are the same
object: a step that is called twice is two steps.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(eq=False)
class Record:
    """One step. `fragment` is what it has in a manifest, but for its name, inputs and branch;
    `parameters` are those of the function that it calls, if it calls one."""

    title: str
    fragment: Mapping[str, Any]
    inputs: tuple[Ref, ...]
    parameters: tuple[str, ...] = ()

    def is_like(self, other: Record) -> bool:
        """Whether a second run of the function has come to the same step."""
        return (self.title, self.fragment, self.inputs) == (
            other.title,
            other.fragment,
            other.inputs,
        )


@dataclass(frozen=True)
class Ref:
    """An answer, or one tensor of it; of the request if there is no record."""

    record: Record | None
    tensor: str = ""
    rename: str = ""

    def __str__(self) -> str:
        whose = "the request" if self.record is None else f"the answer of {self.record.title}"
        return f"tensor '{self.tensor}' of {whose}" if self.tensor else whose


@dataclass(frozen=True)
class Condition:
    """A branch of a step that decides."""

    decider: Record
    branch: bool | int | str


@dataclass(eq=False)
class Block:
    """Steps in a row, then either a question with a block for each answer, or a result."""

    items: list[Record | Group] = field(default_factory=list)
    asked: Record | None = None
    branches: dict[bool, Block] = field(default_factory=dict)
    result: Ref | None = None

    @property
    def is_closed(self) -> bool:
        """How it ends is known."""
        return self.asked is not None or self.result is not None


@dataclass(eq=False)
class Group:
    """Steps that were traced on their own, with branches that come together at its end.

    `parts` are blocks with the branch that each belongs to, if to one; `join` is the step that
    hands on the answer of the branch that was taken, if there are several ends.
    """

    key: tuple[object, ...]
    parts: list[tuple[Condition | None, Block]]
    join: Record | None = None
    result: Ref = field(default_factory=lambda: Ref(None))


def ends_of(block: Block) -> list[Ref]:
    """The results of all ways through a block."""
    if block.asked is None:
        return [block.result] if block.result is not None else []
    return [end for branch in block.branches.values() for end in ends_of(branch)]
