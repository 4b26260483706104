"""The questions that an engine must answer as the framework does, before it may answer any.

Drawn from the model: thresholds and their neighbours among float64 and float32 numbers, whole
numbers around them, values between and beyond, categories known and unseen, missing values, and
the limits of the types. Pure but for the random generator that comes in.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np

from salver.inference.tensor import Array, InferRequest, tensor_from_array
from salver.runtimes.compiled.landmarks import Landmarks
from salver.runtimes.compiled.ports import Subject
from salver.runtimes.tabular import INPUT_NAME

ORDINARY_ROWS = 512
_SPECIAL_ROWS = 96
_SMALL_BATCHES = 6
_UNSEEN = ("", "salver has never seen this", "é漢")


class Probe(msgspec.Struct, frozen=True):
    """A request, and what is special about it: `ordinary`, `sample`, `limits` (of float32),
    `beyond` them, `infinite`, `missing` or `unseen`."""

    group: str
    kind: str
    rows: int
    request: InferRequest


class ProbeMaker:
    """Makes probes for one model."""

    def __init__(
        self, subject: Subject, landmarks: Landmarks, generator: np.random.Generator
    ) -> None:
        self._subject = subject
        self._generator = generator
        self._numbers = [
            np.unique(np.asarray(each, dtype=np.float64)) for each in landmarks.numbers
        ]
        self._texts = [sorted(set(each)) or ["a", "b"] for each in landmarks.texts]

    def probes(self) -> list[Probe]:
        """All groups, for each kind of input."""
        found: list[Probe] = []
        for kind in self._kinds():
            ordinary = self._ordinary(ORDINARY_ROWS, kind)
            found.append(self._probe("ordinary", kind, ordinary))
            found += [
                self._probe("ordinary", kind, [each[i : i + 1 + i % 3] for each in ordinary])
                for i in range(_SMALL_BATCHES)
            ]
            found.append(self._probe("limits", kind, self._at(kind, _limits_of(kind))))
            found.append(self._probe("beyond", kind, self._at(kind, _beyond(kind))))
            if kind != "q":
                found.append(self._probe("missing", kind, self._missing(kind)))
                found += [
                    self._probe("infinite", kind, self._at(kind, [value]))
                    for value in (np.inf, -np.inf)
                ]
            if kind == "columns" and self._subject.text_columns:
                found.append(self._probe("unseen", kind, self._unseen()))
        return found

    def timing_kind(self, kinds: Sequence[str]) -> str:
        """Of the kinds that some engine takes, the one that models are mostly asked with."""
        return next(each for each in ("columns", "d", "f", "q") if each in kinds)

    def timing_request(self, rows: int, kind: str) -> InferRequest:
        """Ordinary rows. Columns that are only another way to send a matrix are timed as one."""
        kind = "d" if kind == "columns" and self._subject.form != "columns" else kind
        return self._probe("ordinary", kind, self._ordinary(rows, kind, only_known=True)).request

    def _kinds(self) -> tuple[str, ...]:
        if self._subject.form != "columns":
            return ("d", "f", "q")
        return ("columns",) if self._subject.text_columns else ("columns", "d", "q")

    def _ordinary(self, rows: int, kind: str, *, only_known: bool = False) -> list[Array]:
        texts = set(self._subject.text_columns)
        return [
            self._known_texts(index, rows)
            if index in texts
            else self._numbers_of(index, rows, kind, plain=only_known)
            for index in range(self._subject.width)
        ]

    def _known_texts(self, index: int, rows: int) -> Array:
        return self._generator.choice(np.asarray(self._texts[index], dtype=object), rows)

    def _numbers_of(self, index: int, rows: int, kind: str, *, plain: bool = False) -> Array:
        generator, known = self._generator, self._numbers[index]
        low, high = (known[0], known[-1]) if len(known) else (-3.0, 3.0)
        margin = (high - low) * 0.1 or 1.0
        spread = generator.uniform(low - margin, high + margin, rows)
        if plain or not len(known):
            return _of_kind(spread, kind)
        at = generator.choice(known, rows)
        single = at.astype(np.float32)
        ways = [
            at,
            np.nextafter(at, -np.inf),
            np.nextafter(at, np.inf),
            single.astype(np.float64),
            np.nextafter(single, np.float32(-np.inf)).astype(np.float64),
            np.nextafter(single, np.float32(np.inf)).astype(np.float64),
            np.floor(at),
            np.ceil(at),
            spread,
            spread,
            np.round(spread),
        ]
        which = generator.integers(0, len(ways), rows)
        return _of_kind(np.choose(which, ways), kind)

    def _missing(self, kind: str) -> list[Array]:
        """A few cells of each row, then all of them."""
        columns = self._ordinary(_SPECIAL_ROWS, kind)
        texts = set(self._subject.text_columns)
        for index, column in enumerate(columns):
            if index not in texts:
                column[self._generator.random(len(column)) < 0.25] = np.nan
                column[-1] = np.nan
        return columns

    def _at(self, kind: str, values: Sequence[Any]) -> list[Array]:
        """One cell of each row has one of the values: two would hide each other in a sum."""
        columns = self._ordinary(_SPECIAL_ROWS, kind)
        texts = set(self._subject.text_columns)
        numeric = [index for index in range(len(columns)) if index not in texts]
        for row in range(_SPECIAL_ROWS if numeric else 0):
            index = numeric[row % len(numeric)]
            columns[index][row] = values[(row // len(numeric) + row) % len(values)]
        return columns

    def _unseen(self) -> list[Array]:
        columns = self._ordinary(_SPECIAL_ROWS, "columns")
        for index in self._subject.text_columns:
            hit = self._generator.random(_SPECIAL_ROWS) < 0.3
            columns[index][hit] = self._generator.choice(np.asarray(_UNSEEN, object), hit.sum())
        return columns

    def _probe(self, group: str, kind: str, columns: Sequence[Array]) -> Probe:
        return Probe(group, kind, len(columns[0]), request_of(self._subject, kind, columns))


def request_of(subject: Subject, kind: str, columns: Sequence[Array]) -> InferRequest:
    """A request for all of the subject's outputs."""
    if kind == "columns":
        tensors = [
            tensor_from_array(name, column)
            for name, column in zip(subject.names, columns, strict=True)
        ]
        return InferRequest(tuple(tensors), subject.outputs)
    return InferRequest((tensor_from_array(INPUT_NAME, np.column_stack(columns)),), subject.outputs)


def _of_kind(values: Array, kind: str) -> Array:
    if kind == "f":
        return values.astype(np.float32)
    if kind == "q":
        return np.clip(np.round(values), -(2.0**53), 2.0**53).astype(np.int64)
    return np.asarray(values, dtype=np.float64)


def _limits_of(kind: str) -> list[Any]:
    """Numbers that float32 holds with room to spare; whole numbers that float64 does."""
    if kind == "q":
        return [0, -1, 2**31 - 1, -(2**31), 2**24 + 1, -(2**24) - 1, 2**53, -(2**53)]
    single = np.finfo(np.float32)
    return [0.0, -0.0, single.tiny, single.eps, 1e9, -1e9, 2.0**24 + 1, 1e20, -1e25, 1e29]


def _beyond(kind: str) -> list[Any]:
    if kind == "q":
        return [2**53 + 1, 2**62 + 1, 2**63 - 1, -(2**63)]
    single = np.finfo(np.float32)
    if kind == "f":
        return [single.max, -single.max, single.max / 2]
    double = np.finfo(np.float64)
    return [float(single.max) * 1.01, -1e60, 1e120, double.tiny, -1e200, double.max / 4]
