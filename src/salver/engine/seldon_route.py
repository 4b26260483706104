"""Shares a graph's requests among its variants, and tells callers which one answered.

As Seldon v2's gateway does: an answer carries `x-seldon-route`, and a caller that sends it back
gets the same variant again, whatever the shares have become. A route is `:iris_1:` for a Model
(its name and version) and `:NAME.pipeline:` for a Pipeline; a header may hold several.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Sequence

import msgspec

from salver.engine.call import Call
from salver.engine.ports import ModelStatus
from salver.engine.traffic import Headed, RandomNumber, Target, sticky_value
from salver.graphs.plan import StickyPolicy
from salver.inference.metadata import ModelMetadata

ROUTE_HEADER = b"x-seldon-route"
_PIPELINE = ".pipeline"
_VERSION = "1"
"""Of a Model in a route: what tells versions apart here is no number that callers know."""
_ROUTES = re.compile(rb":([^:\s]+):")
_VERSION_END = re.compile(rb"_[0-9]+\Z")


def route_of(key: str) -> bytes:
    """The route of a variant, by its key: a Pipeline's ends in `.pipeline`."""
    return f":{key}:".encode() if key.endswith(_PIPELINE) else f":{key}_{_VERSION}:".encode()


def variants_in(header: bytes) -> Sequence[bytes]:
    """The keys that a header's routes are of, without the versions of Models."""
    return [_VERSION_END.sub(b"", each) for each in _ROUTES.findall(header)]


class RoutedSplit:
    """A `ServedModel` over several variants."""

    def __init__(
        self,
        name: str,
        targets: Sequence[Target],
        sticky: StickyPolicy | None = None,
        *,
        random_number: RandomNumber,
    ) -> None:
        """The targets' percents are shares of whatever they add up to."""
        open_targets = [each for each in targets if each.percent > 0]
        if not open_targets:
            raise ValueError(f"the variants of '{name}' have no share at all")
        self.name = name
        self._random = random_number
        self._sticky = sticky
        self._primary = max(open_targets, key=lambda each: each.percent).model
        self._by_key = {each.key.encode(): (each.model, route_of(each.key)) for each in targets}
        self._keys = [each.key.encode() for each in open_targets]
        self._shares = [each.percent for each in open_targets]
        self._at: Callable[[float], bytes] = (
            self._only if len(open_targets) == 1 else self._by_share
        )

    def submit(self, call: Call) -> None:
        """See `ServedModel`."""
        key = self.key_for(call)
        model, route = self._by_key[key]
        call.add_header(ROUTE_HEADER, route)
        model.submit(call)

    def key_for(self, call: Headed) -> bytes:
        """The variant that this request goes to."""
        header = call.header(ROUTE_HEADER)
        if header:
            for key in variants_in(header):
                if key in self._by_key:
                    return key
        if self._sticky is not None:
            value = sticky_value(call, self._sticky)
            if value:
                return self._at(_point_of(value))
        return self._at(self._random())

    def _only(self, point: float) -> bytes:
        return self._keys[0]

    def _by_share(self, point: float) -> bytes:
        left = point * sum(self._shares)
        for key, share in zip(self._keys, self._shares, strict=True):
            left -= share
            if left < 0:
                return key
        return self._keys[-1]

    # The rest of the port: what the largest share says.

    @property
    def version(self) -> str:
        return self._primary.version

    @property
    def status(self) -> ModelStatus:
        return msgspec.structs.replace(self._primary.status, name=self.name)

    @property
    def is_ready(self) -> bool:
        return self._primary.is_ready

    @property
    def metadata(self) -> ModelMetadata:
        return self._primary.metadata


def _point_of(value: bytes) -> float:
    """A caller's point in [0, 1): the same each time."""
    digest = hashlib.blake2b(value, digest_size=8).digest()
    return int.from_bytes(digest, "big") / (1 << 64)
