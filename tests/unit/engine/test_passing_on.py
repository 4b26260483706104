"""What wraps a call passes on all that its answer can be: headers, a service's own refusal."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from tests.unit.engine.flows import AskedCall, Bench, service

from salver.engine.call import Call
from salver.engine.chain import SubCall
from salver.engine.flow_ports import Failure
from salver.engine.shadow import ShadowedModel, ShadowSettings
from salver.errors import ErrorKind
from salver.graphs.flow import Edge
from salver.telemetry.registry import Registry
from salver.telemetry.shadow import ShadowMetrics

OWN = Failure(ErrorKind.MODEL_NOT_FOUND, "gone", 410, b'{"detail":"gone"}')


class Refusing:
    """Adds a header and refuses in its own words."""

    name, version, is_ready = "m", "1", True

    def submit(self, call: Call) -> None:
        call.add_header(b"x-route", b"a")
        call.reject(OWN.status, OWN.body, OWN.kind, OWN.message)


def through_shadow(call: Call) -> None:
    bench = Bench()
    shadowed = ShadowedModel(
        Refusing(),  # type: ignore[arg-type]
        Refusing(),  # type: ignore[arg-type]
        ShadowSettings(),
        metrics=ShadowMetrics(Registry(), "m", "2"),
        is_same=lambda one, other: True,
        random_number=lambda: 0.0,
        scheduler=bench.loop,
        clock=bench.loop.clock,
    )
    shadowed.submit(call)


def through_log(call: Call) -> None:
    Refusing().submit(SubCall(call, call.codec, 0, call.body, 0.0))


def through_graph(call: Call) -> None:
    bench = Bench()
    bench.models["a"] = Refusing()  # type: ignore[assignment]
    bench.graph([service("a")], [Edge("a")]).submit(call)


@pytest.mark.parametrize("submit", [through_shadow, through_log, through_graph])
def test_a_refusal_and_a_header_get_through(submit: Callable[[Call], None]) -> None:
    call = AskedCall(b'{"instances": [1]}')
    submit(call)
    assert (call.failure.status, call.failure.body) == (OWN.status, OWN.body)
    assert call.added == {b"x-route": b"a"}


def test_a_named_step_refuses_in_our_words() -> None:
    call = AskedCall(b"{}")
    Refusing().submit(SubCall(call, call.codec, 0, call.body, 0.0).then("transformer"))
    assert call.failure == Failure(OWN.kind, "transformer: gone")
