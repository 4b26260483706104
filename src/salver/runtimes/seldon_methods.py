"""The methods of a component's class: which it has, and how each wants to be called.

Components leave out what they do not need of Seldon's signatures: names, meta, routing.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

_ANY = 99


class Method:
    """A method of the class, and how it wants to be called."""

    __slots__ = ("call", "takes", "takes_named")

    def __init__(self, call: Callable[..., Any], by_name: str) -> None:
        self.call = call
        self.takes, self.takes_named = _signature(call, by_name)

    def __call__(self, values: Sequence[Any], **named: Any) -> Any:
        return self.call(*values[: self.takes], **(named if self.takes_named else {}))


def own_method(instance: Any, name: str) -> Callable[..., Any] | None:
    """The method, unless it is only the SDK's base class that has it."""
    method = getattr(instance, name, None)
    if not callable(method):
        return None
    module = getattr(getattr(method, "__func__", method), "__module__", "") or ""
    return None if module.split(".")[0] == "seldon_core" else method


def names_of(instance: Any, name: str) -> Any:
    """Names as the class has them: a method to call, or a list."""
    found = own_method(instance, name)
    if found is not None:
        return found
    value = getattr(instance, name, None)
    return None if value is None or callable(value) else list(value)


def _signature(call: Callable[..., Any], by_name: str) -> tuple[int, bool]:
    """How many positional arguments it takes, and whether it takes the one by name."""
    try:
        parameters = inspect.signature(call).parameters.values()
    except (TypeError, ValueError):
        return _ANY, False
    named = any(each.kind is each.VAR_KEYWORD or each.name == by_name for each in parameters)
    if any(each.kind is each.VAR_POSITIONAL for each in parameters):
        return _ANY, named
    positional = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    count = sum(each.kind in positional and each.name != by_name for each in parameters)
    return count, named


def is_not_implemented(error: Exception) -> bool:
    """Seldon's way to say that a class lacks a method; its SDK need not be installed here."""
    return type(error).__name__ == "SeldonNotImplementedError"
