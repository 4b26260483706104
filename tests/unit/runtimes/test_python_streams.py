"""Python classes that give any number of responses."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
from tests.unit.runtimes.requests import arrays, ask, load

from salver.errors import LoadFailed, ModelFailed, Unsupported
from salver.inference.tensor import InferRequest
from salver.runtimes.ports import StreamingModel

COUNT = "def predict(self, count: int):\n    for n in range(count):\n        yield n"


def served(tmp_path: Path, body: str, **fields: Any) -> StreamingModel:
    path = tmp_path / "my_model.py"
    lines = "".join(f"    {line}\n" for line in body.strip().splitlines())
    path.write_text(f"import numpy as np\n\nclass M:\n{lines}")
    return cast(StreamingModel, load(path, "python", attribute="M", **fields))


def numbers(model: StreamingModel, request: InferRequest) -> list[Any]:
    return [arrays(each)["predict"].tolist()[0] for each in model.stream(request)]


@pytest.mark.parametrize(
    "body",
    [
        COUNT,
        COUNT.replace("predict", "stream"),
        COUNT.replace("def", "async def"),
        "decoupled = True\ndef predict(self, count: int):\n    return iter(range(count))",
        "def stream(self, count: int):\n    return iter(range(count))",
        "decoupled = True\nasync def predict(self, count: int):\n    return iter(range(count))",
    ],
)
def test_each_thing_that_is_yielded_is_a_response(tmp_path: Path, body: str) -> None:
    model = served(tmp_path, body)
    assert model.metadata.decoupled
    assert not model.metadata.batchable
    assert numbers(model, ask(count=[3])) == [0, 1, 2]
    assert numbers(model, ask(count=[0])) == []
    model.unload()


def test_a_class_that_returns_does_not_stream(tmp_path: Path) -> None:
    model = served(tmp_path, "def predict(self, count: int):\n    return count")
    assert not model.metadata.decoupled


def test_steps_go_around_each_response(tmp_path: Path) -> None:
    model = served(
        tmp_path,
        "def preprocess(self, count: int):\n    return count + 1\n"
        + COUNT
        + "\ndef postprocess(self, n):\n    return n * 10",
    )
    assert numbers(model, ask(count=[2])) == [0, 10, 20]


def test_a_prediction_is_the_one_response_of_a_stream(tmp_path: Path) -> None:
    model = served(tmp_path, COUNT)
    assert arrays(model.predict(ask(count=[1])))["predict"].tolist() == [0]
    with pytest.raises(Unsupported, match="it gives no response to this request"):
        model.predict(ask(count=[0]))
    with pytest.raises(Unsupported, match=r"more than one response.*generate_stream"):
        model.predict(ask(count=[2]))


def test_a_prediction_does_not_run_an_endless_stream_to_its_end(tmp_path: Path) -> None:
    model = served(
        tmp_path,
        "ended = False\n"
        "def predict(self, count: int):\n"
        "    try:\n"
        "        while True:\n"
        "            yield 1\n"
        "    finally:\n"
        "        M.ended = True\n"
        "def ask(self):\n    return self.ended",
    )
    with pytest.raises(Unsupported, match="more than one response"):
        model.predict(ask(count=[1]))


def test_a_class_with_both_predicts_by_the_one_and_streams_by_the_other(tmp_path: Path) -> None:
    model = served(
        tmp_path,
        "def predict(self, count: int):\n    return -count\n"
        "def stream(self, count: int):\n    yield from range(count)",
    )
    assert model.metadata.decoupled
    assert arrays(model.predict(ask(count=[4])))["predict"].tolist() == [-4]
    assert numbers(model, ask(count=[2])) == [0, 1]


@pytest.mark.parametrize("kind", ["def", "async def"])
def test_a_stream_that_is_left_ends_at_its_yield(tmp_path: Path, kind: str) -> None:
    trace = tmp_path / "trace"
    model = served(
        tmp_path,
        f"{kind} predict(self, count: int):\n"
        "    try:\n"
        "        for n in range(count):\n"
        "            M.note(f'{n},')\n"
        "            yield n\n"
        "    finally:\n"
        "        M.note('end')\n"
        "def note(text):\n"
        f"    with open({str(trace)!r}, 'a') as file:\n"
        "        file.write(text)",
    )
    responses = cast(Any, model.stream(ask(count=[100])))
    next(responses)
    next(responses)
    responses.close()
    model.unload()
    assert trace.read_text() == "0,1,end"


def test_what_is_declared_is_checked_of_each_response(tmp_path: Path) -> None:
    model = served(
        tmp_path,
        'outputs = [{"name": "n", "datatype": "INT64", "shape": [1]}]\n'
        "def predict(self, count: int):\n"
        "    yield {'n': 1}\n"
        "    yield {'n': 'one'}",
    )
    responses = model.stream(ask(count=[1]))
    assert arrays(next(responses))["n"].tolist() == [1]
    with pytest.raises(ModelFailed, match="declared as INT64"):
        next(responses)


def test_a_method_that_yields_nothing_and_returns_none_is_told_so(tmp_path: Path) -> None:
    model = served(tmp_path, "decoupled = True\ndef predict(self, count: int):\n    pass")
    with pytest.raises(ModelFailed, match="yield the responses"):
        next(model.stream(ask(count=[1])))


def test_an_example_is_tried_with_one_response(tmp_path: Path) -> None:
    endless = "def predict(self, count: int):\n    while True:\n        yield count\nexample = 3"
    assert served(tmp_path, endless).metadata.decoupled
    broken = "def predict(self, count: int):\n    yield 1 / 0\nexample = 3"
    with pytest.raises(LoadFailed, match="ZeroDivisionError"):
        served(tmp_path, broken)
