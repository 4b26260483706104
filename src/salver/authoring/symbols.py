"""Symbols: what stands for the request and for answers while a graph is traced.

A symbol can be given to steps, models and combiners, asked for its truth, returned, and asked for
one tensor by name (`answer["age"]`). Anything else would look at data that is not there: it is
refused with what to do instead.
"""

from __future__ import annotations

from typing import Any, NoReturn

from salver.authoring.blocks import Ref
from salver.authoring.tracing import PlacedError, Walk, caller_line, current_walk


def _refusing(deed: str) -> Any:
    """A method that cannot be had."""

    def method(self: Symbol, *_: object, **__: object) -> Any:
        refuse(self, deed)

    return method


class Symbol:
    """The request, an answer, or one tensor of them."""

    __slots__ = ("_ref",)

    def __init__(self, ref: Ref) -> None:
        self._ref = ref

    def __bool__(self) -> bool:
        walk, ref = _walk(self), self._ref
        if ref.record is None:
            refuse(self, "asking for its truth")
        if ref.tensor:
            ref = walk.record(f"{ref.tensor}-is-true", {"decide": "true"}, (ref,))
        assert ref.record is not None
        return walk.ask(ref.record)

    def __getitem__(self, name: object) -> Symbol:
        if not isinstance(name, str) or self._ref.tensor:
            refuse(self, f"indexing it by {name!r}")
        _walk(self)
        return Symbol(Ref(self._ref.record, name))

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        refuse(self, f"its attribute '{name}'")

    def __repr__(self) -> str:
        return f"<{self._ref}, while the graph is traced>"

    def __format__(self, spec: str) -> str:
        refuse(self, "writing it into a text")

    __add__ = __sub__ = __mul__ = __truediv__ = __floordiv__ = __mod__ = __divmod__ = __pow__ = (
        __matmul__
    ) = __lshift__ = __rshift__ = __and__ = __or__ = __xor__ = _refusing("calculating with it")
    __radd__ = __rsub__ = __rmul__ = __rtruediv__ = __rfloordiv__ = __rmod__ = __rdivmod__ = (
        __rpow__
    ) = __rmatmul__ = __rlshift__ = __rrshift__ = __rand__ = __ror__ = __rxor__ = __add__
    __neg__ = __pos__ = __abs__ = __invert__ = __round__ = __trunc__ = __floor__ = __ceil__ = (
        __add__
    )
    __lt__ = __le__ = __gt__ = __ge__ = __eq__ = __ne__ = _refusing("comparing it")
    __int__ = __float__ = __complex__ = __index__ = _refusing("making a number of it")
    __iter__ = __next__ = __reversed__ = __contains__ = _refusing("going through it")
    __len__ = __length_hint__ = _refusing("asking for its length")
    __setitem__ = __delitem__ = _refusing("changing it")
    __call__ = _refusing("calling it")
    __enter__ = __exit__ = _refusing("using it as a context")
    __await__ = __aiter__ = _refusing("waiting for it")
    __array__ = __array_ufunc__ = __array_function__ = _refusing("giving it to NumPy")
    __bytes__ = __buffer__ = _refusing("making bytes of it")
    __hash__ = object.__hash__


def ref_of(symbol: Symbol) -> Ref:
    """What the symbol stands for."""
    return symbol._ref


def refuse(symbol: Symbol, deed: str) -> NoReturn:
    """Raises `GraphError` that says why this cannot be done here, and what can."""
    message = (
        f"{deed} needs data, and {symbol._ref} is not there while the graph is traced: put it "
        "into a function with @salver.step"
    )
    walk = current_walk()
    if walk is None:
        raise PlacedError(f"{caller_line()}: {message}")
    walk.refuse(message)


def _walk(symbol: Symbol) -> Walk:
    walk = current_walk()
    if walk is None:
        raise PlacedError(
            f"{caller_line()}: {symbol._ref} is of a tracing that is over: do not keep what a "
            "graph is called with"
        )
    return walk
