"""Splits a service's requests over its revisions: by chance, by tag, or by caller.

Owns the pick of one request and the swap of the whole table between two requests. What the
shares are is `control/rollout.py`'s to decide. A service with one revision and no tags needs
no split: its model is handed out itself.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import msgspec

from salver.engine.call import Call
from salver.engine.ports import ModelStatus, ServedModel
from salver.graphs.plan import StickyPolicy
from salver.inference.metadata import ModelMetadata

TAG_HEADER = b"salver-tag"
KNATIVE_TAG_HEADER = b"knative-serving-tag"
_HASH_RANGE = float(1 << 64)
_ROUNDING = 1e-6
"""What percents that are no whole numbers may be off by."""

RandomNumber = Callable[[], float]
"""A number from [0, 1), e.g. `random.random`."""


class Headed(Protocol):
    """A request whose headers can be asked for."""

    def header(self, name: bytes) -> bytes: ...


class Target(msgspec.Struct, frozen=True):
    """One revision's share: percent of the requests, and the tag it can be asked for by.

    `key` is the revision's name: what keeps sticky callers on it.
    """

    key: str
    percent: float
    model: ServedModel
    tag: str = ""


class _Table:
    """What one request needs of the targets, worked out once for all requests."""

    __slots__ = ("bounds", "by_tag", "last", "models", "primary", "sticky", "weighted")

    def __init__(self, targets: Sequence[Target], sticky: StickyPolicy | None) -> None:
        open_targets = [target for target in targets if target.percent > 0]
        if abs(sum(target.percent for target in open_targets) - 100) > _ROUNDING:
            percents = ", ".join(f"{each.key} {each.percent}" for each in targets)
            raise ValueError(f"the percents must add up to 100, got: {percents or 'none'}")
        total = 0.0
        bounds: list[tuple[float, ServedModel]] = []
        for target in open_targets:
            total += target.percent
            bounds.append((total / 100.0, target.model))
        self.primary = max(open_targets, key=lambda target: target.percent).model
        self.bounds = tuple(bounds[:-1])
        self.last = bounds[-1][1]
        self.models = tuple(target.model for target in targets)
        self.by_tag: Mapping[bytes, ServedModel] = {
            target.tag.encode(): target.model for target in targets if target.tag
        }
        self.sticky = sticky if sticky is not None and (sticky.header or sticky.cookie) else None
        self.weighted = tuple(
            (_seed(target.key), target.percent, target.model) for target in open_targets
        )

    def at(self, point: float) -> ServedModel:
        """The model whose share of [0, 1) holds the point."""
        for bound, model in self.bounds:
            if point < bound:
                return model
        return self.last

    def of_caller(self, value: bytes) -> ServedModel:
        """The caller's model: the same while shares stay, and as long as can be when they move.

        Rendezvous hashing: each target draws a number from the caller's value, with odds by
        its percent; the best one wins. Raising one target's share moves only callers to it.
        """
        best, chosen = math.inf, self.last
        for seed, percent, model in self.weighted:
            digest = hashlib.blake2b(value, digest_size=8, key=seed).digest()
            point = (int.from_bytes(digest, "big") + 0.5) / _HASH_RANGE
            score = -math.log(point) / percent
            if score < best:
                best, chosen = score, model
        return chosen


class TrafficSplit:
    """A `ServedModel` over several."""

    def __init__(
        self,
        name: str,
        targets: Sequence[Target],
        *,
        random_number: RandomNumber,
        sticky: StickyPolicy | None = None,
    ) -> None:
        self.name = name
        self._random = random_number
        self._table = _Table(targets, sticky)
        self._bind()

    def replace(self, targets: Sequence[Target], sticky: StickyPolicy | None = None) -> None:
        """From the next request on, these targets. Raises `ValueError` unless they make 100."""
        self._table = _Table(targets, sticky)
        self._bind()

    def _bind(self) -> None:
        # A split without tags and stickiness does not look at headers at all.
        table = self._table
        self.submit: Callable[[Call], None]
        if table.by_tag or table.sticky is not None:
            self.submit = self._submit_by_headers
        elif len(table.bounds) == 1:
            self.submit = _two_way(self._random, table.bounds[0][0], table.bounds[0][1], table.last)
        else:
            self.submit = self._submit_by_chance

    @property
    def parts(self) -> Sequence[ServedModel]:
        """The models that it splits requests over."""
        return self._table.models

    def tagged(self, tag: str) -> ServedModel | None:
        """The model that goes by the tag."""
        return self._table.by_tag.get(tag.encode())

    def _submit_by_chance(self, call: Call) -> None:
        self._table.at(self._random()).submit(call)

    def _submit_by_headers(self, call: Call) -> None:
        self.choose(call).submit(call)

    def choose(self, call: Headed) -> ServedModel:
        """The model that this request goes to."""
        table = self._table
        if table.by_tag:
            tag = call.header(TAG_HEADER) or call.header(KNATIVE_TAG_HEADER)
            # As on Knative, a tag that nobody has means the default route.
            if tag and (model := table.by_tag.get(tag)) is not None:
                return model
        if table.sticky is not None:
            value = sticky_value(call, table.sticky)
            if value:
                return table.of_caller(value)
        return table.at(self._random())

    # The rest of the port: what the largest share says.

    @property
    def version(self) -> str:
        return self._table.primary.version

    @property
    def status(self) -> ModelStatus:
        return msgspec.structs.replace(self._table.primary.status, name=self.name)

    @property
    def is_ready(self) -> bool:
        return self._table.primary.is_ready

    @property
    def metadata(self) -> ModelMetadata:
        return self._table.primary.metadata


def _two_way(
    random_number: RandomNumber, bound: float, first: ServedModel, second: ServedModel
) -> Callable[[Call], None]:
    """The commonest split, a canary and the rest, without a loop."""

    # The models, not their `submit`: a split within a split puts another in its place.
    def submit(call: Call) -> None:
        if random_number() < bound:
            first.submit(call)
        else:
            second.submit(call)

    return submit


def sticky_value(call: Headed, sticky: StickyPolicy) -> bytes:
    """What tells this caller from others; empty if the request does not say."""
    if sticky.header:
        value = call.header(sticky.header.lower().encode())
        if value:
            return value
    if sticky.cookie:
        return cookie_value(call.header(b"cookie"), sticky.cookie.encode())
    return b""


def sticky_point(value: bytes) -> float:
    """A caller's place in [0, 1): the same for the same value."""
    digest = hashlib.blake2b(value, digest_size=8).digest()
    return int.from_bytes(digest, "big") / _HASH_RANGE


def cookie_value(header: bytes, name: bytes) -> bytes:
    """The value of the cookie of that name in a Cookie header; empty if there is none."""
    for part in header.split(b";"):
        key, equals, value = part.strip().partition(b"=")
        if equals and key == name:
            return value.strip(b'"')
    return b""


def _seed(key: str) -> bytes:
    return hashlib.blake2b(key.encode(), digest_size=16).digest()
