"""What is wrong with a manifest, or without effect in it: where, and why. Values only."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

import msgspec

from salver.errors import ManifestError

Path = tuple[str | int, ...]
Finding = tuple[Path, str]


class Problem(msgspec.Struct, frozen=True):
    """One fault of a manifest, on one line. `line` and `column` count from 1; 0: not known."""

    source: str
    line: int
    column: int
    path: str
    message: str

    def __str__(self) -> str:
        place = f"{self.source}:{self.line}" if self.line and self.source else self.source
        return ": ".join(part for part in (place, self.path, self.message) if part)


class Note(Problem, frozen=True):
    """A field that was read but has no effect here."""


def manifest_error(problems: Iterable[Problem]) -> ManifestError:
    """The problems as an error that keeps them all, with their fields."""
    found = tuple(problems)
    return ManifestError(
        [str(each) for each in found], [(each.path, each.message) for each in found]
    )


def path_text(path: Path) -> str:
    """A path as people write it, e.g. `spec.predictor.containers[0].image`."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        elif not step or set(step) & set(".[]'\" ") or not step.isprintable() or len(step) > 60:
            text += f"[{quoted(step)}]"
        else:
            text += f".{step}" if text else step
    return text


def nearest(word: str, known: Iterable[str]) -> str:
    """The known word that was probably meant, or nothing."""
    names = list(known)
    plain = {_plain(name): name for name in reversed(names)}
    if _plain(word) in plain:
        return plain[_plain(word)]
    close = difflib.get_close_matches(_plain(word), plain, n=1, cutoff=0.65)
    return plain[close[0]] if close else ""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """The end of a message that names the nearest known word, if there is one."""
    name = nearest(word, known)
    return f"; did you mean '{name}'?" if name else ""


def quoted(text: str) -> str:
    """A text from a manifest as it may stand in a message: on one line, not too long."""
    short = text if len(text) <= 60 else text[:57] + "..."
    return repr(short)


def on_one_line(text: str) -> str:
    """The text with what would break its line written as escapes, names of manifests in it too."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)


def _plain(word: str) -> str:
    return word.lower().replace("_", "").replace("-", "")
