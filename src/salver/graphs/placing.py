"""Where the boxes of a picture go: layers from left to right, few crossings. Pure.

The layered way (Sugiyama's): each box one layer right of the last of its sources; arrows that
pass layers get a place in each; boxes are ordered within their layers by the mean place of their
neighbours, forth and back a few times; then each is moved towards its neighbours as far as the
others leave room.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence

import msgspec

from salver.graphs.picture import Arrow, Picture

_SWEEPS = 6
_Key = str


class Places(msgspec.Struct, frozen=True):
    """`layers` from left to right; `middle`: how far down a key's middle is. A way is the keys
    that an arrow passes, its ends included."""

    layers: Sequence[Sequence[_Key]]
    middle: Mapping[_Key, float]
    ways: Sequence[tuple[Arrow, Sequence[_Key]]]


def placed(picture: Picture, height_of: Callable[[_Key], float], gap: float) -> Places:
    """`height_of` says how much room a key takes; what is only passed by has a key too."""
    forward = [arrow for arrow in picture.arrows if not arrow.is_back]
    layer = _layers([box.key for box in picture.boxes], forward)
    layers: list[list[_Key]] = [[] for _ in range(max(layer.values(), default=0) + 1)]
    for box in picture.boxes:
        layers[layer[box.key]].append(box.key)
    ways: list[tuple[Arrow, Sequence[_Key]]] = []
    for number, arrow in enumerate(forward):
        way = [arrow.source]
        for between in range(layer[arrow.source] + 1, layer[arrow.target]):
            way.append(f"\1{number}.{between}")
            layers[between].append(way[-1])
        ways.append((arrow, [*way, arrow.target]))
    ways += [(arrow, (arrow.source, arrow.target)) for arrow in picture.arrows if arrow.is_back]
    before, after = _neighbours(ways)
    for sweep in range(_SWEEPS):
        _order(layers, before if sweep % 2 == 0 else after, is_forth=sweep % 2 == 0)
    middle = _middles(layers, before, after, height_of, gap)
    return Places(layers, middle, ways)


def _layers(keys: Sequence[_Key], arrows: Sequence[Arrow]) -> dict[_Key, int]:
    """Each key's layer: right of all its sources. Keys come in the order of the flow."""
    layer = dict.fromkeys(keys, 0)
    for _ in keys:
        has_moved = False
        for arrow in arrows:
            if layer[arrow.target] <= layer[arrow.source]:
                layer[arrow.target] = layer[arrow.source] + 1
                has_moved = True
        if not has_moved:
            break
    # The answer stands at the right edge, also if nothing leads to it.
    layer[keys[-1]] = max(layer.values())
    return layer


_Neighbours = dict[_Key, list[_Key]]


def _neighbours(ways: Sequence[tuple[Arrow, Sequence[_Key]]]) -> tuple[_Neighbours, _Neighbours]:
    before: _Neighbours = {}
    after: _Neighbours = {}
    for arrow, way in ways:
        if arrow.is_back:
            continue
        for left, right in itertools.pairwise(way):
            after.setdefault(left, []).append(right)
            before.setdefault(right, []).append(left)
    return before, after


def _order(layers: list[list[_Key]], neighbours: _Neighbours, *, is_forth: bool) -> None:
    """Orders each layer by the mean place of the neighbours in the layer looked at before."""
    for number in range(len(layers)) if is_forth else reversed(range(len(layers))):
        place = {
            key: index
            for other in (layers[number - 1 if is_forth else number + 1 - len(layers)],)
            for index, key in enumerate(other)
        }

        def mean(item: tuple[int, _Key], place: dict[_Key, int] = place) -> float:
            index, key = item
            found = [place[each] for each in neighbours.get(key, []) if each in place]
            return sum(found) / len(found) if found else float(index)

        layers[number] = [key for _, key in sorted(enumerate(layers[number]), key=mean)]


def _middles(
    layers: Sequence[Sequence[_Key]],
    before: _Neighbours,
    after: _Neighbours,
    height_of: Callable[[_Key], float],
    gap: float,
) -> dict[_Key, float]:
    middle: dict[_Key, float] = {}
    for keys in layers:
        top = 0.0
        for key in keys:
            middle[key] = top + height_of(key) / 2
            top += height_of(key) + gap
    for sweep in range(_SWEEPS):
        is_forth = sweep % 2 == 0
        neighbours = before if is_forth else after
        for keys in layers if is_forth else reversed(layers):
            wanted = [_mean([middle[each] for each in neighbours.get(key, [])]) for key in keys]
            wants = [
                middle[key] if wish is None else wish
                for key, wish in zip(keys, wanted, strict=True)
            ]
            for key, value in zip(keys, _apart(keys, wants, height_of, gap), strict=True):
                middle[key] = value
    lowest = min((middle[key] - height_of(key) / 2 for key in middle), default=0.0)
    return {key: value - lowest for key, value in middle.items()}


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def _apart(
    keys: Sequence[_Key], wants: Sequence[float], height_of: Callable[[_Key], float], gap: float
) -> list[float]:
    """The places nearest to those wanted at which nothing overlaps, in order: neighbours that
    would overlap are moved as one, to the middle of what they want."""
    blocks: list[tuple[list[float], list[float]]] = []
    offset = 0.0
    for number, key in enumerate(keys):
        if number:
            offset += (height_of(keys[number - 1]) + height_of(key)) / 2 + gap
        # What is wanted, as if all stood at one point.
        blocks.append(([wants[number] - offset], [offset]))
        while len(blocks) > 1 and _at(blocks[-2]) > _at(blocks[-1]):
            last = blocks.pop()
            blocks[-1] = (blocks[-1][0] + last[0], blocks[-1][1] + last[1])
    return [_at(block) + offset for block in blocks for offset in block[1]]


def _at(block: tuple[list[float], list[float]]) -> float:
    return sum(block[0]) / len(block[0])
