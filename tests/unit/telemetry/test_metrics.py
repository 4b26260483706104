"""The metrics of a model, as a scraper sees them."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from salver.errors import ErrorKind
from salver.telemetry.metrics import ModelMetrics
from salver.telemetry.registry import Registry
from salver.telemetry.snapshot import render


def scraped(registry: Registry) -> dict[str, float]:
    """Values by sample name; of the labels only the reason of an error is kept."""
    text = render(registry.snapshot()).decode()
    return {
        sample.name + (":" + sample.labels["reason"] if "reason" in sample.labels else ""): (
            sample.value
        )
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.labels.get("le", "+Inf") == "+Inf"
    }


def test_a_batch_counts_its_rows_and_its_requests() -> None:
    registry = Registry()
    ModelMetrics(registry, "iris", "1").observe_batch(3, 50, 0.002)
    values = scraped(registry)
    assert values["salver_batches_total"] == 1
    assert values["salver_batch_requests_sum"] == 3
    assert values["salver_batch_rows_sum"] == 50
    assert values["salver_compute_duration_seconds_sum"] == 0.002


def test_a_request_leaves_its_queue_time_and_its_latency() -> None:
    registry = Registry()
    metrics = ModelMetrics(registry, "iris", "1")
    metrics.requests.value += 1
    metrics.observe_queue_time(0.001)
    metrics.observe_latency(0.004)
    values = scraped(registry)
    assert values["salver_requests_total"] == 1
    assert values["salver_queue_duration_seconds_sum"] == 0.001
    assert values["salver_request_duration_seconds_sum"] == 0.004


@pytest.mark.parametrize("kind", [kind for kind in ErrorKind if kind is not ErrorKind.OK])
def test_every_kind_of_error_has_its_own_count(kind: ErrorKind) -> None:
    registry = Registry()
    ModelMetrics(registry, "iris", "1").count_error(kind, 2)
    errors = {k: v for k, v in scraped(registry).items() if k.startswith("salver_request_errors")}
    assert {k: v for k, v in errors.items() if v} == {
        f"salver_request_errors_total:{kind.reason}": 2
    }


def test_ok_counts_as_no_error() -> None:
    registry = Registry()
    ModelMetrics(registry, "iris", "1").count_error(ErrorKind.OK)
    assert not any(v for k, v in scraped(registry).items() if "errors" in k)


def test_a_refusal_is_an_error_too() -> None:
    registry = Registry()
    ModelMetrics(registry, "iris", "1").count_refusal(ErrorKind.QUEUE_FULL)
    values = scraped(registry)
    assert values["salver_requests_refused_total"] == 1
    assert values["salver_request_errors_total:queue_full"] == 1


def test_a_model_loaded_again_goes_on_counting() -> None:
    registry = Registry()
    ModelMetrics(registry, "iris", "1").requests.value += 1
    ModelMetrics(registry, "iris", "1").requests.value += 1
    assert scraped(registry)["salver_requests_total"] == 2


def test_every_name_is_prefixed_and_every_total_is_a_counter() -> None:
    registry = Registry()
    ModelMetrics(registry, "iris", "1")
    for family in registry.snapshot():
        assert family.name.startswith("salver_")
        assert family.name.endswith("_total") == (family.kind == "counter")
        assert all(dict(s.labels).get("model") == "iris" for s in family.samples)
