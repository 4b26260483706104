"""The live metrics: what is counted, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from salver.telemetry.registry import Registry


def test_a_value_on_a_bound_belongs_to_the_bucket_of_that_bound() -> None:
    histogram = Registry().histogram("h", "help", (1.0, 2.0))
    for value in (0.5, 1.0, 1.5, 2.0, 2.5):
        histogram.observe(value)
    assert histogram.counts == [2, 2, 1]
    assert histogram.total == 7.5


@given(st.floats(0, 100), st.integers(0, 50))
def test_repeated_values_count_like_as_many_single_ones(value: float, times: int) -> None:
    registry = Registry()
    one = registry.histogram("one", "help", (1, 10, 50))
    many = registry.histogram("many", "help", (1, 10, 50))
    for _ in range(times):
        one.observe(value)
    many.observe_repeated(value, times)
    assert one.counts == many.counts
    assert one.total == pytest.approx(many.total)


def test_asking_twice_for_a_child_gives_the_same_one() -> None:
    registry = Registry()
    assert registry.counter("c_total", "help", model="a") is registry.counter(
        "c_total", "help", model="a"
    )
    assert registry.counter("c_total", "help", model="a") is not registry.counter(
        "c_total", "help", model="b"
    )


def test_a_name_cannot_be_defined_in_two_ways() -> None:
    registry = Registry()
    registry.counter("c_total", "help")
    with pytest.raises(ValueError, match="c_total is already defined differently"):
        registry.gauge("c_total", "help")


def test_children_of_one_name_carry_the_same_labels() -> None:
    registry = Registry()
    registry.counter("c_total", "help", model="a")
    with pytest.raises(ValueError, match="other labels than before"):
        registry.counter("c_total", "help", version="1")


def test_the_bounds_of_a_histogram_must_rise() -> None:
    with pytest.raises(ValueError, match="the bounds must rise"):
        Registry().histogram("h", "help", (2.0, 1.0))


@pytest.mark.parametrize("name", ["", "9lives", "with space", "with-dash"])
def test_a_name_that_prometheus_cannot_read_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="is no metric name"):
        Registry().counter(name, "help")


def test_the_label_le_belongs_to_histograms() -> None:
    with pytest.raises(ValueError, match="'le' is no label name"):
        Registry().histogram("h", "help", (1.0,), le="1")


def test_discarding_a_model_forgets_its_children_only() -> None:
    registry = Registry()
    registry.counter("c_total", "help", model="a", version="1").value += 1
    registry.counter("c_total", "help", model="b", version="1").value += 2
    registry.discard(model="a", version="1")
    (family,) = registry.snapshot()
    assert [(dict(s.labels)["model"], s.value) for s in family.samples] == [("b", 2)]


def test_a_snapshot_does_not_change_afterwards() -> None:
    registry = Registry()
    counter = registry.counter("c_total", "help")
    histogram = registry.histogram("h", "help", (1.0,))
    before = registry.snapshot()
    counter.value += 1
    histogram.observe(0.5)
    assert before[0].samples[0].value == 0
    assert before[1].samples[0].counts == (0, 0)


def test_folding_a_model_keeps_its_counts_in_the_sum_and_forgets_its_gauges() -> None:
    registry = Registry()
    for model, count in (("a", 1), ("b", 2), ("c", 4)):
        registry.counter("c_total", "help", model=model, version="1").value += count
        registry.counter("e_total", "help", model=model, version="1", reason="r").value += count
        registry.histogram("h", "help", (1.0,), model=model, version="1").observe(count)
        registry.gauge("g", "help", model=model, version="1").value = count
    for model in ("a", "b"):
        registry.fold({"model": model, "version": "1"}, {"model": "(gone)", "version": ""})
    families = {family.name: family for family in registry.snapshot()}

    def by_model(name: str) -> dict[str, float]:
        return {dict(sample.labels)["model"]: sample.value for sample in families[name].samples}

    assert by_model("c_total") == by_model("e_total") == {"c": 4, "(gone)": 3}
    assert by_model("h") == {"c": 4, "(gone)": 3}
    assert [sample.counts for sample in families["h"].samples if sample.value == 3] == [(1, 1)]
    assert by_model("g") == {"c": 4}
    (gone,) = [sample for sample in families["e_total"].samples if sample.value == 3]
    assert gone.labels == (("model", "(gone)"), ("version", ""), ("reason", "r"))
