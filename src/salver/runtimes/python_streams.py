"""Python classes that give any number of responses: generators, plain and asynchronous.

A class streams if its `stream`, or else its `predict`, is a generator function, or if it says
`decoupled = True`. Owns how such a thing is stepped and closed; what is yielded is `answers.py`'s.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from typing import Any

from salver.errors import ModelFailed, Unsupported
from salver.inference.tensor import InferResponse

_END = object()


def streaming_method(instance: Any) -> Callable[..., Any] | None:
    """The method that gives the responses; None if the class answers once."""
    own: Callable[..., Any] | None = _method(instance, "stream")
    predict = _method(instance, "predict")
    declares = bool(getattr(instance, "decoupled", False))
    if own is not None and (declares or predict is None or _is_generator(own)):
        return own
    if predict is not None and (declares or _is_generator(predict)):
        return predict
    return None


def _method(instance: Any, name: str) -> Callable[..., Any] | None:
    method = getattr(instance, name, None)
    return method if callable(method) else None


def _is_generator(method: Any) -> bool:
    return inspect.isgeneratorfunction(method) or inspect.isasyncgenfunction(method)


def only_response(responses: Generator[InferResponse]) -> InferResponse:
    """The one response of a stream. Raises `Unsupported` if it is another number of them.

    A stream that goes on is closed at its second response.
    """
    try:
        first = next(responses, None)
        if first is None or next(responses, None) is not None:
            raise Unsupported(
                f"it gives {'no response' if first is None else 'more than one response'} to this "
                "request, and one is wanted: ask generate_stream, or ModelStreamInfer over gRPC"
            )
        return first
    finally:
        responses.close()


class Stepper:
    """Steps through what a user's method gave: an iterator of either kind, or one answer."""

    def __init__(self, answers: Any, finished: Callable[[Any], Any]) -> None:
        """`finished` gives the result of an awaitable, and anything else as it is."""
        self._finished = finished
        if inspect.isawaitable(answers):
            answers = finished(answers)
        self._answers = answers

    def __iter__(self) -> Iterator[Any]:
        answers = self._answers
        if isinstance(answers, AsyncIterator):
            while (answer := self._finished(anext(answers, _END))) is not _END:
                yield answer
        elif isinstance(answers, Iterator):
            yield from answers
        elif answers is None:
            raise ModelFailed("the method returned nothing: yield the responses, one by one")
        else:
            yield answers

    def close(self) -> None:
        """Lets the method end, at the yield where it stands."""
        if isinstance(self._answers, AsyncIterator):
            close = getattr(self._answers, "aclose", None)
        else:
            close = getattr(self._answers, "close", None)
        if close is not None and isinstance(self._answers, AsyncIterator | Iterator):
            self._finished(close())
