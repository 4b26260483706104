"""Every runtime of the server's own environment over all protocols: its framework's own answers.

Those of heavy frameworks are asked by the same judge, in `tests/frameworks/NAME/`.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests import models
from tests.e2e.every_protocol import FORMS, TABLES, judge
from tests.e2e.program_environment import ROOT, build_jar, java, rscript
from tests.e2e.question import Question
from tests.e2e.server import Server, serving
from tests.e2e.triton_kit import write_repository

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(240)]

IRIS = models.iris()[0][47:53]
WIDE = models.wide_rows(6)[0]
PIXELS = np.random.default_rng(5).random((3, 16), dtype=np.float32)
PAIR = {"a": PIXELS[:, :2], "b": PIXELS[:, 2:4]}
PERSONS = {"age": np.array([31.0, 44.5]), "city": np.array(["Bern", "Roma"], object)}
TEXTS = np.array(["good, great", "poor and bad", "zoë"], object)
EXACT: dict[str, float] = {"rtol": 0.0, "atol": 0.0}
CLASS = """
class Shop:
    # Numbers, texts and a truth, in and out.
    batchable = True

    def predict(self, price: np.ndarray, count: np.ndarray, name: list, new: np.ndarray) -> dict:
        return {"sum": price * count, "name": [each.upper() for each in name], "old": ~new}
"""
SHOP: dict[str, Any] = {
    "price": np.array([1.5, 2.25, -3.0]),
    "count": np.array([2, 1 << 40, 0], np.int64),
    "name": np.array(["a", "é,\n", '"'], object),
    "new": np.array([True, False, True]),
}


def asked(name: str, rows: Any, answer: Any, **more: Any) -> Question:
    """A question about a model of one input and one output, which have scikit-learn's names."""
    given, output = more.pop("given", "input-0"), more.pop("output", "predict")
    return Question(name, {given: rows}, {output: np.asarray(answer)}, **more)


def tabular(folder: Path) -> Iterator[Question]:
    """scikit-learn, XGBoost, LightGBM."""
    import pandas as pd

    columns = tuple(models.IRIS_COLUMNS)
    predict = models.save_sklearn_lr(folder / "iris.joblib")
    yield asked("iris", IRIS, predict(IRIS), tolerance=EXACT)
    predict = models.save_sklearn_skops(folder / "safe.skops")
    yield asked("safe", IRIS, predict(IRIS), tolerance=EXACT)
    predict = models.save_sklearn_proba(folder / "chances.joblib")
    answer = predict(IRIS)
    reason = dict.fromkeys(("instances", "inputs"), "it cannot say which output is asked")
    reason |= dict.fromkeys(TABLES, "it cannot say which output is asked")
    yield asked(
        "chances",
        IRIS,
        answer,
        output="predict_proba",
        outputs=("predict_proba",),
        without=reason,
    )
    predict = models.save_sklearn_frame(folder / "flowers.joblib")
    answer = predict(pd.DataFrame(IRIS, columns=list(columns)))
    yield asked("flowers", IRIS, answer, columns=columns, tolerance=EXACT)
    predict = models.save_sklearn_mixed(folder / "mixed.joblib")
    answer = predict(pd.DataFrame(PERSONS))
    yield Question("mixed", PERSONS, {"predict": answer})
    predict = models.save_sklearn_text(folder / "words.joblib")
    yield asked("words", TEXTS, predict(TEXTS), tolerance=EXACT)
    rows = WIDE.astype(np.float32)
    predict = models.save_xgboost(folder / "trees.json")
    yield asked("trees", rows, predict(rows))
    predict = models.save_lightgbm(folder / "leaves.txt")
    yield asked("leaves", WIDE, predict(WIDE))


def networks(folder: Path) -> Iterator[Question]:
    """ONNX, and Python classes."""
    predict = models.save_onnx_mlp(folder / "mlp.onnx", (16, 8, 3))
    yield asked("mlp", PIXELS, predict(PIXELS), given="pixels", output="scores")
    total, product = models.save_onnx_two_inputs(folder / "pair.onnx")(PAIR)
    reason = {"csv": "an input is a vector, which is no field"}
    yield Question("pair", PAIR, {"sum": total, "product": product}, without=reason)
    predict = models.save_python_class(folder / "sum.py")
    yield asked("sum", WIDE, predict(WIDE), given="rows")
    (folder / "shop.py").write_text("import numpy as np\n\n" + CLASS)
    answer = {"sum": SHOP["price"] * SHOP["count"], "old": ~SHOP["new"]}
    answer["name"] = np.array(["A", "É,\n", '"'], object)
    yield Question("shop", SHOP, answer, tolerance=EXACT)


def programs(folder: Path) -> Iterator[Question]:
    """Java, R, and Perl, which speaks the framed protocol by itself."""
    examples = ROOT / "examples" / "languages"
    if java() is not None:
        for name in ("Regression", "Greeting"):
            build_jar(name, folder / f"{name.lower()}.jar", examples / "java" / f"{name}.java")
        answer = IRIS @ np.array([0.5, -1.0, 2.0, 0.25]) + 3.0
        yield asked("regression", IRIS, answer, given="x", output="y")
        answer = np.array([f"Hello, {text}!" for text in TEXTS], object)
        yield asked("greeting", TEXTS, answer, given="name", output="greeting")
    if (interpreter := rscript()) is not None:
        train = [interpreter, str(examples / "r" / "train.R"), "stopping.rds"]
        subprocess.run(train, cwd=folder, check=True, timeout=60)
        shutil.copy(examples / "r" / "stopping.R", folder)
        speeds = np.array([4.0, 12.5, 25.0])
        answer = answer_of_r(interpreter, folder, speeds.tolist())
        yield asked("stopping", speeds, answer, given="speed", output="distance", tolerance=EXACT)
    shutil.copytree(examples / "perl", folder / "largest")
    yield asked("largest", IRIS, IRIS.max(axis=1), given="rows", output="largest", tolerance=EXACT)


def answer_of_r(interpreter: str, folder: Path, speeds: list[float]) -> list[float]:
    code = (
        f"p <- predict(readRDS('stopping.rds'), data.frame(speed = c({str(speeds)[1:-1]})));"
        'cat(sprintf("%.17g", p))'
    )
    words = [interpreter, "-e", code]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=60)
    return [float(each) for each in done.stdout.split()]


def repository(folder: Path) -> Iterator[Question]:
    """A Triton repository: models of its Python and ONNX backends, and an ensemble."""
    write_repository(folder)
    rows = np.abs(IRIS[:2]).astype(np.float32)
    more = np.float32([[1, 2, 3, 4], [0.5, 0, 1, 8]])
    total = (rows + more) * 2
    csv = {"csv": "an input is a vector, which is no field"}
    answer = {"SUM": total, "COUNT": np.full((2, 1), 1, np.int32)}
    yield Question("add", {"A": rows, "B": more}, answer, without=csv)
    yield asked("asks", rows, 4 * rows, given="X", output="Y")
    squares = rows.reshape(2, 2, 2)
    yield asked("scaled", squares, 3 * rows, given="X", output="Y", without=csv)
    reason = dict.fromkeys(FORMS, "an ensemble passes tensors from step to step, which V2 names")
    reason = {form: why for form, why in reason.items() if not form.startswith("V2")}
    answer = {"MID": 4 * rows, "OUT": 10 * rows}
    yield Question("both_steps", {"IN": rows}, answer, without=reason)


class Served:
    """A running server and the questions about its models."""

    def __init__(self, server: Server, questions: list[Question]) -> None:
        self.server = server
        self.questions = {question.model: question for question in questions}

    def judge(self, name: str) -> list[str]:
        return judge(self.server.url, self.server.grpc, self.questions[name])


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("every")
    questions = [*tabular(folder), *networks(folder), *programs(folder)]
    with serving(str(folder), "--threads", "1", start_timeout_s=120) as server:
        yield Served(server, questions)


@pytest.fixture(scope="module")
def triton(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("repository")
    questions = list(repository(folder))
    with serving(str(folder), start_timeout_s=120) as server:
        yield Served(server, questions)


@pytest.mark.parametrize(
    "name",
    ["iris", "safe", "chances", "flowers", "mixed", "words", "trees", "leaves"],
)
def test_a_tabular_model_answers_as_its_library_does(served: Served, name: str) -> None:
    assert served.judge(name)


@pytest.mark.parametrize("name", ["mlp", "pair", "sum", "shop"])
def test_onnx_and_python_answer_as_they_do_themselves(served: Served, name: str) -> None:
    assert served.judge(name)


@pytest.mark.parametrize("name", ["regression", "greeting", "stopping", "largest"])
def test_a_program_answers_as_it_does_itself(served: Served, name: str) -> None:
    if name not in served.questions:
        pytest.skip("the language of it is not installed")
    assert served.judge(name)


@pytest.mark.parametrize("name", ["add", "asks", "scaled", "both_steps"])
def test_a_triton_model_answers_as_its_code_does(triton: Served, name: str) -> None:
    assert triton.judge(name)


def test_the_judge_sees_what_is_wrong(served: Served) -> None:
    """Else it might agree with everything."""
    question = served.questions["trees"]
    for wrong in (question.expected["predict"] + 1e-4, question.expected["predict"][:, None]):
        other = Question("trees", question.inputs, {"predict": wrong})
        for form in FORMS:
            without = {each: "not asked now" for each in FORMS if each != form}
            alone = Question("trees", other.inputs, other.expected, without=without)
            with pytest.raises(AssertionError, match=f"trees over {form}"):
                judge(served.server.url, served.server.grpc, alone)
