"""A picture of a flow as SVG, readable on light and dark ground alike. Pure.

Text of manifests is escaped; widths of texts are guessed, since nobody here knows the font.
Elements carry `data-box` and `data-arrow`, so that a page can put live figures in them.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from xml.sax.saxutils import escape, quoteattr

from salver.graphs.picture import Arrow, Box, Picture
from salver.graphs.placing import Places, placed

_BOX_HEIGHT, _END_HEIGHT, _PASSED_HEIGHT = 58.0, 40.0, 16.0
_LEAST_WIDTH, _MOST_WIDTH, _PADDING = 92.0, 260.0, 28.0
_LETTER, _SMALL_LETTER = 7.9, 6.3
_GAP_Y, _GAP_X, _LABEL_GAP = 26.0, 46.0, 22.0
_MARGIN = 16.0
_BACK_DEPTH = 34.0

STYLE = """
.g{font:13px system-ui,"Segoe UI",Roboto,Helvetica,Arial,sans-serif;--ink:#1b2330;--soft:#5b6878;
--line:#9aa7b8;--paper:#fff;--model:#e8f0fe;--model-line:#7aa2e3;--function:#e9f7ef;
--function-line:#76bd95;--choice:#fff4e0;--choice-line:#dfae5b;--pass:#f3f4f6;--pass-line:#b3bcc8;
--bad:#c5303a;--hot:#2f6fdb}
@media (prefers-color-scheme:dark){.g{--ink:#e7ecf3;--soft:#9fadbf;--line:#66758a;--paper:#14181f;
--model:#1b2a45;--model-line:#4b78bf;--function:#17301f;--function-line:#4a8f68;--choice:#3a2c12;
--choice-line:#a67f35;--pass:#222933;--pass-line:#566476;--bad:#ff7b81;--hot:#6ea1ff}}
.g text{fill:var(--ink)}.g .what,.g .facts,.g .label{font-size:11px;fill:var(--soft)}
.g .facts{font-variant-numeric:tabular-nums}.g .title{font-weight:600}
.g rect,.g polygon{stroke-width:1.3}.g .ground{fill:var(--paper);stroke:none}
.g .end rect{fill:var(--paper);stroke:var(--line)}
.g .model rect{fill:var(--model);stroke:var(--model-line)}
.g .function rect{fill:var(--function);stroke:var(--function-line)}
.g .choice polygon{fill:var(--choice);stroke:var(--choice-line)}
.g .pass rect{fill:var(--pass);stroke:var(--pass-line)}
.g .failing .facts{fill:var(--bad);font-weight:600}
.g path{fill:none;stroke:var(--line)}.g .trigger path{stroke-dasharray:5 4}
.g .hot path{stroke:var(--hot)}.g marker path{fill:var(--line);stroke:none}
.g .label{paint-order:stroke;stroke:var(--paper);stroke-width:5px;stroke-linejoin:round}
"""


def svg(picture: Picture, *, is_page: bool = False, tip: str = "tip") -> str:
    """The picture; with its own style, unless it is for a page that has it. `tip` is the id
    of its arrows' tips, one of its own for each picture of a page."""
    boxes = {box.key: box for box in picture.boxes}

    def height_of(key: str) -> float:
        if key not in boxes:
            return _PASSED_HEIGHT
        return _END_HEIGHT if boxes[key].shape == "end" else _BOX_HEIGHT

    places = placed(picture, height_of, _GAP_Y)
    layout = _Layout(picture, places, tip)
    depth = max((places.middle[key] + height_of(key) / 2 for key in places.middle), default=0.0)
    if any(arrow.is_back for arrow in picture.arrows):
        depth += _BACK_DEPTH
    width, height = layout.width + 2 * _MARGIN, depth + 2 * _MARGIN + 8
    style = "" if is_page else f"<style>{STYLE}</style>"
    arrows = "".join(layout.arrow(arrow, way, depth) for arrow, way in places.ways)
    shapes = "".join(layout.box(box, height_of(box.key)) for box in picture.boxes)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="g" role="img" '
        f"aria-label={quoteattr('graph ' + picture.title)} "
        f'width="{width:.0f}" height="{height:.0f}" viewBox="0 0 {width:.0f} {height:.0f}">'
        f'{style}<defs><marker id="{tip}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="9" '
        f'markerHeight="9" markerUnits="userSpaceOnUse" orient="auto-start-reverse">'
        f'<path d="M0 0L8 4L0 8z"/></marker></defs>'
        f'<rect class="ground" width="100%" height="100%"/>'
        f'<g transform="translate({_MARGIN:.0f} {_MARGIN:.0f})">{arrows}{shapes}</g></svg>\n'
    )


class _Layout:
    """The places with widths: how wide each layer is, and where it begins."""

    def __init__(self, picture: Picture, places: Places, tip: str) -> None:
        self._tip = tip
        self._middle = places.middle
        self._widths = {box.key: _width(box) for box in picture.boxes}
        self._left: dict[str, float] = {}
        self._right: dict[str, float] = {}
        left = 0.0
        for number, keys in enumerate(places.layers):
            width = max((self._widths.get(key, 0.0) for key in keys), default=0.0)
            for key in keys:
                own = self._widths.get(key, width)
                self._left[key] = left + (width - own) / 2
                self._right[key] = self._left[key] + own
            self.width = left + width
            left += width + _GAP_X + _label_room(places, number)

    def box(self, box: Box, height: float) -> str:
        left, right = self._left[box.key], self._right[box.key]
        middle = self._middle[box.key]
        x, top, width = (left + right) / 2, middle - height / 2, right - left
        if box.shape == "choice":
            cut = 12
            points = (
                f"{left + cut:.1f},{top:.1f} {right - cut:.1f},{top:.1f} {right:.1f},{middle:.1f} "
                f"{right - cut:.1f},{top + height:.1f} {left + cut:.1f},{top + height:.1f} "
                f"{left:.1f},{middle:.1f}"
            )
            shape = f'<polygon points="{points}"/>'
        else:
            round = height / 2 if box.shape == "end" else 8
            shape = (
                f'<rect x="{left:.1f}" y="{top:.1f}" width="{width:.1f}" height="{height:.1f}" '
                f'rx="{round:.0f}"/>'
            )
        lines = [("title", box.title), ("what", box.what), ("facts", box.facts)]
        shown = [(kind, text) for kind, text in lines if text or kind == "facts"]
        texts = "".join(
            f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="middle">'
            f"{escape(_cut(text, width, kind))}</text>"
            for (kind, text), y in zip(shown, _baselines(shown, middle), strict=True)
        )
        name = escape(" ".join(filter(None, [box.title, box.what])))
        tone = f"{box.shape} failing" if box.is_failing else box.shape
        return (
            f'<g class="{tone}" data-box={quoteattr(box.key)}><title>{name}</title>'
            f"{shape}{texts}</g>"
        )

    def arrow(self, arrow: Arrow, way: Sequence[str], depth: float) -> str:
        if arrow.is_back:
            path, at = self._back(arrow, depth)
        else:
            path, at = self._forth(way)
        words = [arrow.label, arrow.facts]
        texts = "".join(
            f'<text class="{kind}" x="{at[0]:.1f}" y="{at[1] + dy:.1f}" text-anchor="middle">'
            f"{escape(_cut(text, _MOST_WIDTH, kind))}</text>"
            for kind, text, dy in zip(("label", "label facts"), words, (-5.0, 12.0), strict=True)
            if text or kind == "label facts"
        )
        tone = " ".join(
            ["arrow"]
            + (["trigger"] if arrow.is_trigger or arrow.is_back else [])
            + (["hot"] if arrow.heat > 0 else [])
        )
        return (
            f'<g class="{tone}" data-arrow={quoteattr(arrow.key)}>'
            f'<path d="{path}" stroke-width="{1.2 + 3 * arrow.heat:.2f}" '
            f'marker-end="url(#{self._tip})"/>'
            f"{texts}</g>"
        )

    def _forth(self, way: Sequence[str]) -> tuple[str, tuple[float, float]]:
        """A curve through all that it passes; its label stands after its first bend."""
        points = [(self._right[way[0]], self._middle[way[0]])]
        for key in way[1:-1]:
            points += [(self._left[key], self._middle[key]), (self._right[key], self._middle[key])]
        points.append((self._left[way[-1]] - 2, self._middle[way[-1]]))
        path = f"M{points[0][0]:.1f} {points[0][1]:.1f}"
        for (x1, y1), (x2, y2) in itertools.pairwise(points):
            bend = (x2 - x1) / 2
            path += f"C{x1 + bend:.1f} {y1:.1f} {x2 - bend:.1f} {y2:.1f} {x2:.1f} {y2:.1f}"
        (x1, y1), (x2, y2) = points[0], points[1]
        # Nearer to the target, where arrows from one source have parted.
        share = 0.5 if abs(y2 - y1) < 1 else 0.66
        return path, (x1 + (x2 - x1) * share, y1 + (y2 - y1) * _eased(share))

    def _back(self, arrow: Arrow, depth: float) -> tuple[str, tuple[float, float]]:
        """Below all the boxes, from the source's right back to the target's left."""
        x1, y1 = self._right[arrow.source], self._middle[arrow.source]
        x2, y2 = self._left[arrow.target] - 2, self._middle[arrow.target]
        low, out = depth - 6, _GAP_X * 0.7
        path = (
            f"M{x1:.1f} {y1:.1f}C{x1 + out:.1f} {y1:.1f} {x1 + out:.1f} {low:.1f} "
            f"{x1:.1f} {low:.1f}L{x2:.1f} {low:.1f}C{x2 - out:.1f} {low:.1f} "
            f"{x2 - out:.1f} {y2:.1f} {x2:.1f} {y2:.1f}"
        )
        return path, ((x1 + x2) / 2, low)


def _eased(share: float) -> float:
    """How far down the curve of an arrow is when it is that far across."""
    low, high = 0.0, 1.0
    for _ in range(20):
        at = (low + high) / 2
        across = 1.5 * at * (1 - at) ** 2 + 1.5 * at**2 * (1 - at) + at**3
        low, high = (at, high) if across < share else (low, at)
    return 3 * low**2 * (1 - low) + low**3


def _baselines(lines: Sequence[tuple[str, str]], middle: float) -> list[float]:
    """How far down each line of a box stands; an empty last one takes no room."""
    count = len(lines) if lines[-1][1] else len(lines) - 1
    return [middle + 4.5 + 16 * (number - (count - 1) / 2) for number in range(len(lines))]


def _width(box: Box) -> float:
    widths = [len(box.title) * _LETTER, len(box.what) * _SMALL_LETTER]
    # Room for figures that come later, on a page.
    widths.append(max(len(box.facts), 20 if box.shape != "end" else 8) * _SMALL_LETTER)
    return min(_MOST_WIDTH, max(_LEAST_WIDTH, max(widths) + _PADDING))


def _label_room(places: Places, layer: int) -> float:
    """What the longest label behind a layer needs between it and the next."""
    keys = set(places.layers[layer])
    labels = [
        max(len(arrow.label), len(arrow.facts), 7)
        for arrow, way in places.ways
        if way[0] in keys and not arrow.is_back
    ]
    widest = max(labels, default=0) * _SMALL_LETTER
    return min(_MOST_WIDTH, widest) + (_LABEL_GAP if widest else 0.0)


def _cut(text: str, width: float, kind: str) -> str:
    most = int((width - 12) / (_LETTER if kind == "title" else _SMALL_LETTER))
    return text if len(text) <= most else text[: max(1, most - 1)] + "…"
