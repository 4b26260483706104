"""Which revision answers a request that is handed on whole. Decides; moves no bytes."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager

from salver.engine.ports import ForwardedAnswer, ForwardedRequest, Forwarder, ServedModel
from salver.engine.traffic import TrafficSplit
from salver.errors import Unsupported


class SplitForwarder:
    """Hands each request to the revision that the split picks for it."""

    def __init__(self, split: TrafficSplit, forwarders: Mapping[ServedModel, Forwarder]) -> None:
        """`forwarders` are the split's models that answer any path, by themselves."""
        self._split = split
        self._forwarders = forwarders

    def forward(self, request: ForwardedRequest) -> AbstractAsyncContextManager[ForwardedAnswer]:
        """See `Forwarder`."""
        model = self._split.choose(_Headers(request))
        forwarder = self._forwarders.get(model)
        if forwarder is None:
            raise Unsupported(
                f"the revision of model '{self._split.name}' that got this request answers "
                "V1 and V2 only: ask it for a prediction"
            )
        return forwarder.forward(request)


class _Headers:
    """A request's headers as a call's are read."""

    def __init__(self, request: ForwardedRequest) -> None:
        self._request = request

    def header(self, name: bytes) -> bytes:
        """The first value of the header, or nothing."""
        return next((value for each, value in self._request.headers if each == name), b"")
