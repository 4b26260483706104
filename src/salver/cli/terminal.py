"""What the terminal can show: colours, bars, columns. Pure but for asking a stream if it is one.

Colours and bars that move appear on a terminal alone; `NO_COLOR` turns colours off.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from typing import TextIO

_CODES = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}


class Style:
    """Paints text, or leaves it as it is."""

    def __init__(self, *, is_coloured: bool = False, is_unicode: bool = True) -> None:
        self.is_coloured = is_coloured
        self.is_unicode = is_unicode
        self._full, self._empty = ("█", "░") if is_unicode else ("#", ".")

    def paint(self, text: str, colour: str) -> str:
        """The text in a colour; `colour` is a key of the table above, or empty."""
        if not self.is_coloured or not colour or not text:
            return text
        return f"\x1b[{_CODES[colour]}m{text}\x1b[0m"

    def bar(self, percent: float, width: int = 20) -> str:
        """A bar that is full to `percent`."""
        full = round(max(0.0, min(100.0, percent)) * width / 100)
        return self._full * full + self._empty * (width - full)


def style_of(stream: TextIO, environ: Mapping[str, str]) -> Style:
    """What suits the stream."""
    is_plain = bool(environ.get("NO_COLOR")) or environ.get("TERM") == "dumb"
    encoding = (getattr(stream, "encoding", None) or "ascii").lower().replace("-", "")
    return Style(
        is_coloured=is_terminal(stream) and not is_plain, is_unicode=encoding.startswith("utf")
    )


def is_terminal(stream: TextIO) -> bool:
    """Whether a person watches it."""
    try:
        return stream.isatty()
    except ValueError:
        return False


def width_of(text: str) -> int:
    """The columns that the text takes; wide characters take two."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1
        for char in text
    )


def column_widths(rows: Sequence[Sequence[str]], least: Sequence[int] = ()) -> list[int]:
    """How wide each column must be; not below `least`."""
    count = max((len(row) for row in rows), default=0)
    floor = [*least, *[0] * count][:count]
    return [
        max([floor[index], *(width_of(row[index]) for row in rows if index < len(row))])
        for index in range(count)
    ]


def columns(
    rows: Sequence[Sequence[str]],
    *,
    right: frozenset[int] = frozenset(),
    gap: int = 3,
    least: Sequence[int] = (),
) -> list[str]:
    """Rows as aligned lines; the columns in `right` are flush right. No trailing blanks."""
    widths = column_widths(rows, least)
    full = [[*row, *[""] * (len(widths) - len(row))] for row in rows]
    lines = []
    for row in full:
        cells = []
        for index, cell in enumerate(row):
            blanks = " " * (widths[index] - width_of(cell))
            cells.append(blanks + cell if index in right else cell + blanks)
        lines.append((" " * gap).join(cells).rstrip())
    return lines
