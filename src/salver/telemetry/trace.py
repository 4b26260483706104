"""W3C trace context: reading it, writing it, and deciding which requests are traced.

Pure: random bits are handed in. A header that breaks the specification is ignored, as the
specification demands; a request is never refused for it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import msgspec

RandomBits = Callable[[int], int]
"""Gives an integer of that many random bits, e.g. `random.getrandbits`."""

TRACEPARENT = b"traceparent"
"""The header's name."""
Headers = Sequence[tuple[bytes, bytes]]

_TRACEPARENT = re.compile(
    r"(?P<version>[0-9a-f]{2})-(?P<trace_id>[0-9a-f]{32})-(?P<span_id>[0-9a-f]{16})"
    r"-(?P<flags>[0-9a-f]{2})(?P<rest>-.*)?",
    re.ASCII,
)
_SAMPLED = 0x01
_NO_TRACE = "0" * 32
_NO_SPAN = "0" * 16


class TraceContext(msgspec.Struct, frozen=True):
    """A span's place in a trace: ids in lower-case hex, and whether the trace is recorded."""

    trace_id: str
    span_id: str
    is_sampled: bool


class SpanPlace(msgspec.Struct, frozen=True):
    """A new span: its own context, and its parent's span id (empty at the root)."""

    context: TraceContext
    parent_span_id: str = ""


def parse_traceparent(header: str | None) -> TraceContext | None:
    """The caller's context, or None for a missing or invalid header.

    Versions above 00 may carry more after the flags; version ff is invalid.
    """
    match = _TRACEPARENT.fullmatch(header) if header else None
    if match is None:
        return None
    version, trace_id, span_id = match["version"], match["trace_id"], match["span_id"]
    if version == "ff" or (version == "00" and match["rest"] is not None):
        return None
    if trace_id == _NO_TRACE or span_id == _NO_SPAN:
        return None
    return TraceContext(trace_id, span_id, bool(int(match["flags"], 16) & _SAMPLED))


def format_traceparent(context: TraceContext) -> str:
    """The context as a version 00 `traceparent` header."""
    return f"00-{context.trace_id}-{context.span_id}-{'01' if context.is_sampled else '00'}"


def header_of(context: TraceContext) -> bytes:
    """The value of the `traceparent` header that makes the receiver's span a child of this one."""
    return format_traceparent(context).encode()


def in_span(headers: Headers, context: TraceContext | None) -> Headers:
    """The headers of a request that is made within a span, in place of the caller's own; as they
    are if there is none."""
    if context is None:
        return headers
    others = [each for each in headers if each[0] != TRACEPARENT]
    return [*others, (TRACEPARENT, header_of(context))]


def new_span(parent: TraceContext | None, sample: float, random_bits: RandomBits) -> SpanPlace:
    """A span below `parent`, or at the root of a new trace.

    The parent's sampling flag wins; without a parent, the fraction `sample` of all trace ids
    is recorded (the same ids everywhere, as OpenTelemetry's ratio sampler does).
    """
    span_id = f"{_nonzero(random_bits, 64):016x}"
    if parent is not None:
        context = TraceContext(parent.trace_id, span_id, parent.is_sampled)
        return SpanPlace(context, parent.span_id)
    trace = _nonzero(random_bits, 128)
    context = TraceContext(f"{trace:032x}", span_id, is_sampled(trace, sample))
    return SpanPlace(context)


def child_of(parent: TraceContext, random_bits: RandomBits) -> TraceContext:
    """A span of the same trace below `parent`."""
    span_id = f"{_nonzero(random_bits, 64):016x}"
    return TraceContext(parent.trace_id, span_id, parent.is_sampled)


def is_sampled(trace_id: int, sample: float) -> bool:
    """Whether this trace is among the fraction `sample`, by the low 64 bits of its id."""
    return (trace_id & 0xFFFF_FFFF_FFFF_FFFF) < round(sample * (1 << 64))


def _nonzero(random_bits: RandomBits, bits: int) -> int:
    # Zero means "no id" in the specification; 1 is as random as any other answer.
    return random_bits(bits) or 1
