"""Variants that tell their route, and callers that come back with it."""

from __future__ import annotations

import pytest
from tests.calls import RecordingCall
from tests.fakes import FakeModel

from salver.engine.seldon_route import RoutedSplit, route_of, variants_in
from salver.engine.traffic import Target


class RoutedCall(RecordingCall):
    """Keeps the headers that its answer gets."""

    def __init__(self, route: str = "") -> None:
        super().__init__(headers=((b"x-seldon-route", route.encode()),) if route else ())
        self.added: list[tuple[bytes, bytes]] = []

    def add_header(self, name: bytes, value: bytes) -> None:
        self.added.append((name, value))


def split(point: float, **percents: float) -> tuple[RoutedSplit, dict[str, FakeModel]]:
    models = {name: FakeModel(name) for name in percents}
    targets = [Target(name, percent, models[name]) for name, percent in percents.items()]
    return RoutedSplit("it", targets, random_number=lambda: point), models


def asked(models: dict[str, FakeModel]) -> list[str]:
    return [name for name, model in models.items() if model.calls]


def test_routes_are_written_as_seldon_writes_them() -> None:
    assert route_of("iris") == b":iris_1:"
    assert route_of("add10.pipeline") == b":add10.pipeline:"
    assert variants_in(b":add10_3: :p.pipeline: :p.pipeline:") == [
        b"add10",
        b"p.pipeline",
        b"p.pipeline",
    ]


@pytest.mark.parametrize(("point", "name"), [(0.0, "a"), (0.24, "a"), (0.26, "b"), (0.999, "b")])
def test_weights_are_relative_to_each_other(point: float, name: str) -> None:
    found, models = split(point, a=1, b=3, c=0)
    call = RoutedCall()
    found.submit(call)
    assert asked(models) == [name]
    assert call.added == [(b"x-seldon-route", f":{name}_1:".encode())]


def test_a_caller_that_sends_its_route_back_gets_the_same_variant() -> None:
    found, models = split(0.0, a=100, b=0)
    call = RoutedCall(":other_1: :b_7:")
    found.submit(call)
    assert asked(models) == ["b"]
    assert call.added == [(b"x-seldon-route", b":b_1:")]


def test_an_unknown_route_is_as_good_as_none() -> None:
    found, models = split(0.9, a=50, b=50)
    found.submit(RoutedCall(":gone_1:"))
    assert asked(models) == ["b"]


def test_the_largest_share_speaks_for_all() -> None:
    found, models = split(0.0, a=10, b=90)
    models["b"].state = "LOADING"
    assert not found.is_ready
    assert found.status.name == "it"


def test_shares_of_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="no share"):
        split(0.0, a=0)
