"""Where two servers' answers to the same request are not the same. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from tests.e2e.peer_requests import Case

ABSENT = "(absent)"


@dataclass(frozen=True)
class Difference:
    """One place of an answer, what either server has there, and the error either gave, if any."""

    label: str
    place: str
    triton: Any
    salver: Any
    triton_says: str = ""
    salver_says: str = ""

    def __str__(self) -> str:
        shown = f"{self.label}: {self.place}: Triton {self.triton!r}, Salver {self.salver!r}"
        return f"{shown} ({self.triton_says!r}, {self.salver_says!r})"


@dataclass(frozen=True)
class Known:
    """A difference that has a reason, told under `name` in docs/triton-differences.md.

    The other fields are patterns as shells have them, of the difference's fields as text.
    """

    name: str
    label: str
    place: str
    triton: str = "*"
    salver: str = "*"
    triton_says: str = "*"
    salver_says: str = "*"

    def is_this(self, found: Difference) -> bool:
        return all(
            fnmatchcase(str(getattr(found, field)), getattr(self, field))
            for field in ("label", "place", "triton", "salver", "triton_says", "salver_says")
        )


def differences(case: Case, triton: dict[str, Any], salver: dict[str, Any]) -> list[Difference]:
    """What differs in two answers. The words of errors may; that there is one may not."""
    one, other = _settled(triton), _settled(salver)
    said = str(triton.get("error", "")), str(salver.get("error", ""))
    found = [Difference(case.label, *each, *said) for each in _places("", one, other)]
    status = [each for each in found if each.place in ("status", "code")]
    # Where one server refuses and the other does not, the rest of the answers says nothing more.
    return status or found


def _settled(answer: dict[str, Any]) -> dict[str, Any]:
    settled = dict(answer)
    if "error" in settled:
        settled["error"] = "some text" if settled["error"] else "no text"
    if "stream" in settled:
        settled["stream"] = [
            {"error": "some text"} if "error" in each else each for each in settled["stream"]
        ]
    if isinstance(settled.get("answer"), dict | list):
        settled["answer"] = _settled_body(settled["answer"])
    return settled


def _settled_body(body: Any) -> Any:
    """The body with what has no order in one, and measured numbers as `a number`."""
    if isinstance(body, list):
        return sorted(body, key=str)
    body = dict(body)
    for name in ("outputs", "models"):
        if isinstance(body.get(name), list):
            body[name] = sorted(body[name], key=_name)
    if "model_stats" in body:
        body["model_stats"] = sorted(map(_shape, body["model_stats"]), key=str)
    return body


def _name(value: Any) -> str:
    return str(value.get("name")) if isinstance(value, dict) else str(value)


def _shape(value: Any) -> Any:
    """Statistics without their numbers: which there are is compared, not how long anything took."""
    if isinstance(value, dict):
        return {name: _shape(each) for name, each in value.items()}
    if isinstance(value, list):
        return "a list"
    return "a number" if str(value).isdecimal() else value


def _places(place: str, one: Any, other: Any) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(one, dict) and isinstance(other, dict):
        for name in sorted(one.keys() | other.keys()):
            below = f"{place}.{name}" if place else name
            yield from _places(below, one.get(name, ABSENT), other.get(name, ABSENT))
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for at, (left, right) in enumerate(zip(one, other, strict=True)):
            yield from _places(f"{place}[{at}]", left, right)
    elif type(one) is not type(other) or one != other:
        yield place, one, other
