"""Who answers a request, and what becomes of an engine that errs."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
import pytest
from tests.unit.runtimes.requests import matrix, only

from salver.errors import InvalidInput
from salver.inference.compilation import NATIVE, CompileReport
from salver.inference.metadata import ModelMetadata
from salver.inference.tensor import Array, InferRequest, InferResponse, tensor_from_array
from salver.runtimes.compiled.choosing import ChoiceTable
from salver.runtimes.compiled.engines import Engine
from salver.runtimes.compiled.model import Assembly, CompiledModel, LiveCheck
from salver.runtimes.compiled.ports import Compute, Declined

REPORT = CompileReport("exact", "")


class Sums:
    """Stands for a framework: the sum of each row."""

    metadata = ModelMetadata("test", (), ())
    calls = 0

    def predict(self, request: InferRequest) -> InferResponse:
        self.calls += 1
        rows = request.inputs[0].data
        if np.isnan(rows).any():
            raise InvalidInput("no NaN")
        return InferResponse((tensor_from_array("predict", rows.sum(axis=1)),))

    def unload(self) -> None:
        self.calls = 0


def _sums(rows: Array) -> Array:
    return np.asarray(rows.sum(axis=1))


def _entry(request: InferRequest) -> Array:
    return request.inputs[0].data


def _model(
    compute: Compute = _sums, *, stride: int = 0, engines: Sequence[str] = ("quick",)
) -> tuple[CompiledModel, Sums]:
    native = Sums()
    quick = Engine("quick", {"predict": compute}, _entry, ("predict",))
    table = ChoiceTable(tuple(10 ** (each + 1) for each in range(len(engines))), tuple(engines))
    check = LiveCheck(stride, {"quick": 1e-12}, {})
    tables = {"d": table}
    assembly = Assembly({"d": {"quick": quick}}, tables, REPORT, check)
    return CompiledModel("m", native, assembly), native


def test_the_batchs_rows_say_who_answers() -> None:
    model, native = _model(engines=("quick", NATIVE))
    for rows, calls in ((1, 0), (10, 0), (11, 1), (5000, 2)):
        assert only(model.predict(matrix(np.ones((rows, 3))))).tolist() == [3.0] * rows
        assert native.calls == calls


def test_inputs_of_a_kind_that_was_not_accepted_go_to_the_framework() -> None:
    model, native = _model()
    model.predict(matrix(np.ones((1, 3), dtype=np.float32)))
    model.predict(matrix(np.ones((1, 3), dtype=bool)))
    assert native.calls == 2
    assert model.counts.answered == 0


def test_an_output_that_the_engine_has_not_goes_to_the_framework() -> None:
    model, native = _model()
    model.predict(matrix(np.ones((1, 3)), "leaf"))
    assert native.calls == model.counts.declined == 1


def test_what_is_declined_is_the_frameworks() -> None:
    def declines(_: Array) -> Array:
        raise Declined

    model, native = _model(declines)
    model.predict(matrix(np.ones((1, 3))))
    assert native.calls == model.counts.declined == 1
    assert model.counts.withdrawn == []


def test_an_engine_that_fails_is_withdrawn_and_the_caller_answered(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fails(_: Array) -> Array:
        raise RuntimeError("out of luck")

    model, native = _model(fails)
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            assert only(model.predict(matrix(np.ones((1, 3))))).tolist() == [3.0]
    assert native.calls == 3
    assert model.counts.failed == 1
    assert model.counts.withdrawn == ["quick"]
    assert "model 'm': the engine quick is withdrawn" in caplog.text
    assert "out of luck" in caplog.text


def test_values_that_the_framework_refuses_withdraw_no_engine() -> None:
    def fails(_: Array) -> Array:
        raise ValueError("NaN")

    model, _ = _model(fails)
    with pytest.raises(InvalidInput):
        model.predict(matrix(np.full((1, 3), np.nan)))
    assert model.counts.withdrawn == []


def test_every_so_many_requests_one_is_checked() -> None:
    model, native = _model(stride=4)
    for _ in range(12):
        model.predict(matrix(np.ones((1, 3))))
    assert native.calls == model.counts.checked == 3
    assert model.counts.mismatched == 0


def test_a_live_mismatch_is_answered_by_the_framework_and_withdraws_the_engine(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def errs_on_large(rows: Array) -> Array:
        return np.asarray(rows.sum(axis=1) * (1 + 1e-9 * (rows.max() > 100)))

    model, _ = _model(errs_on_large, stride=1)
    assert only(model.predict(matrix(np.ones((1, 3))))).tolist() == [3.0]
    with caplog.at_level(logging.ERROR):
        assert only(model.predict(matrix(np.full((1, 3), 200.0)))).tolist() == [600.0]
    assert model.counts.mismatched == 1
    assert model.counts.withdrawn == ["quick"]
    assert "it differs by 1e-09" in caplog.text


@pytest.mark.parametrize(("fraction", "stride"), [(0.0, 0), (1.0, 1), (0.01, 100), (1e-6, 10**6)])
def test_a_fraction_is_a_stride(fraction: float, stride: int) -> None:
    assert LiveCheck.stride_of(fraction) == stride


def test_unloading_unloads_the_framework() -> None:
    model, native = _model()
    native.calls = 7
    model.unload()
    assert native.calls == 0
