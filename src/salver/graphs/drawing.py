"""Pictures of flows as text: a tree for terminals, and Mermaid. Pure. SVG is `svg.py`'s."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from salver.graphs.flow import REQUEST
from salver.graphs.picture import ANSWER, Arrow, Box, Picture

_SHAPES = {
    "end": ("([", "])"),
    "model": ("[", "]"),
    "function": ("[[", "]]"),
    "choice": ("{{", "}}"),
    "pass": ("(", ")"),
}


class Glyphs:
    """The strokes of a tree; plain ones for terminals that have no others."""

    def __init__(self, *, is_unicode: bool = True) -> None:
        self.fork, self.last, self.down, self.arrow, self.line, self.again = (
            ("├─", "└─", "│  ", "▶ ", "─", "↩ ")
            if is_unicode
            else ("|-", "`-", "|  ", "> ", "-", "^ ")
        )


def tree(picture: Picture, glyphs: Glyphs) -> list[tuple[str, str, str]]:
    """Lines of three cells: the tree, what each step does, its figures.

    A step with several inputs stands below the last of them; the others refer to it.
    """
    boxes = {box.key: box for box in picture.boxes}
    order = {box.key: number for number, box in enumerate(picture.boxes)}
    leaving: dict[str, list[Arrow]] = {}
    for arrow in picture.arrows:
        leaving.setdefault(arrow.source, []).append(arrow)
    home = _homes(picture.arrows, order)
    request = boxes[REQUEST]
    lines = [(request.title, "", request.facts)]
    lines += _below(REQUEST, "", boxes, leaving, home, glyphs)
    return lines


def _homes(arrows: Sequence[Arrow], order: dict[str, int]) -> dict[str, Arrow]:
    """The arrow under which a step with several inputs is shown: that of its last source."""
    home: dict[str, Arrow] = {}
    for arrow in arrows:
        known = home.get(arrow.target)
        if arrow.is_back:
            continue
        if known is None or order[arrow.source] > order[known.source]:
            home[arrow.target] = arrow
    return home


def _below(
    key: str,
    indent: str,
    boxes: dict[str, Box],
    leaving: dict[str, list[Arrow]],
    home: dict[str, Arrow],
    glyphs: Glyphs,
) -> Iterator[tuple[str, str, str]]:
    arrows = leaving.get(key, [])
    for number, arrow in enumerate(arrows):
        is_last = number == len(arrows) - 1
        box = boxes[arrow.target]
        stroke = glyphs.last if is_last else glyphs.fork
        words = [
            *(["trigger"] if arrow.is_trigger else []),
            *([arrow.label] if arrow.label else []),
        ]
        label = f" {', '.join(words)} {glyphs.line}" if words else ""
        if home.get(arrow.target) is not arrow:
            again = glyphs.again if arrow.target != ANSWER else glyphs.arrow
            yield f"{indent}{stroke}{label}{again}{box.title}", "", arrow.facts
            continue
        yield (
            f"{indent}{stroke}{label}{glyphs.arrow}{box.title}",
            box.what,
            box.facts or arrow.facts,
        )
        deeper = indent + ("   " if is_last else glyphs.down)
        yield from _below(arrow.target, deeper, boxes, leaving, home, glyphs)


def mermaid(picture: Picture) -> str:
    """The picture as a Mermaid flowchart."""
    names = {box.key: f"n{number}" for number, box in enumerate(picture.boxes)}
    lines = ["flowchart LR"]
    for box in picture.boxes:
        opening, closing = _SHAPES[box.shape]
        text = "<br/>".join(_quoted(each) for each in (box.title, box.what, box.facts) if each)
        lines.append(f'    {names[box.key]}{opening}"{text}"{closing}')
    for arrow in picture.arrows:
        stroke = "-.->" if arrow.is_trigger or arrow.is_back else "-->"
        text = "<br/>".join(_quoted(each) for each in (arrow.label, arrow.facts) if each)
        label = f'|"{text}"|' if text else ""
        lines.append(f"    {names[arrow.source]} {stroke}{label} {names[arrow.target]}")
    return "\n".join(lines) + "\n"


_ENTITIES = str.maketrans(
    {"#": "#35;", '"': "#quot;", "<": "#lt;", ">": "#gt;", "\n": " ", "&": "#amp;"}
)


def _quoted(text: str) -> str:
    return text.translate(_ENTITIES)
