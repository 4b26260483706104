"""Small real models, trained in a moment: `save_*` writes one and hands back its `predict`.

Used by the unit tests of the runtimes, by the end-to-end tests and by the benchmarks. What
comes back is the framework's own function on the same model, to compare answers with.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

Predict = Callable[[Any], Any]
IRIS_COLUMNS = ("sepal_length", "sepal_width", "petal_length", "petal_width")


def iris() -> tuple[Any, Any]:
    """The iris rows and classes."""
    from sklearn.datasets import load_iris

    rows, classes = load_iris(return_X_y=True)
    return rows, classes


def wide_rows(count: int = 400, width: int = 30) -> tuple[Any, Any]:
    """Made-up rows of two classes."""
    generator = np.random.default_rng(7)
    rows = generator.standard_normal((count, width))
    return rows, (rows[:, 0] + rows[:, 1] ** 2 > 0.5).astype(int)


def save_sklearn_lr(path: Path) -> Predict:
    """Logistic regression on iris: joblib."""
    import joblib
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(max_iter=500).fit(*iris())
    joblib.dump(model, path)
    return model.predict


def save_sklearn_proba(path: Path) -> Predict:
    """The same model; hands back `predict_proba`."""
    import joblib

    save_sklearn_lr(path)
    return joblib.load(path).predict_proba


def save_sklearn_frame(path: Path) -> Predict:
    """A scaler and logistic regression fitted on a DataFrame of named numeric columns."""
    import joblib
    import pandas as pd
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    rows, classes = iris()
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500))
    model.fit(pd.DataFrame(rows, columns=list(IRIS_COLUMNS)), classes)
    joblib.dump(model, path)
    return model.predict


def save_sklearn_mixed(path: Path) -> Predict:
    """Columns of numbers and texts: `age` (numbers), `city` (texts); answers are texts."""
    import joblib
    import pandas as pd
    from sklearn.compose import ColumnTransformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    frame = pd.DataFrame(
        {"age": [20.0, 30.0, 40.0, 50.0] * 5, "city": ["Bern", "Rom", "Rom", "Oslo"] * 5}
    )
    columns = ColumnTransformer(
        [
            ("numbers", StandardScaler(), ["age"]),
            ("texts", OneHotEncoder(handle_unknown="ignore"), ["city"]),
        ]
    )
    model = make_pipeline(columns, LogisticRegression())
    model.fit(frame, np.where(frame["age"] > 35, "yes", "no"))
    joblib.dump(model, path)
    return model.predict


def save_sklearn_text(path: Path) -> Predict:
    """A text classifier: one string a row."""
    import joblib
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    texts = ["good fine great", "bad awful poor", "great good", "poor bad"]
    model = make_pipeline(TfidfVectorizer(), LogisticRegression()).fit(texts, [1, 0, 1, 0])
    joblib.dump(model, path)
    return model.predict


def save_sklearn_skops(path: Path) -> Predict:
    """Logistic regression on iris: skops."""
    import skops.io
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(max_iter=500).fit(*iris())
    skops.io.dump(model, path)
    return model.predict


def save_xgboost(path: Path, trees: int = 100, width: int = 30) -> Predict:
    """Boosted trees on made-up rows: JSON or UBJSON by the suffix."""
    import warnings

    import xgboost

    rows, classes = wide_rows(width=width)
    parameters = {"objective": "binary:logistic", "max_depth": 4, "nthread": 1}
    booster = xgboost.train(parameters, xgboost.DMatrix(rows, classes), trees)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        booster.save_model(path)
    return lambda data: booster.predict(xgboost.DMatrix(data))


def save_lightgbm(path: Path, trees: int = 50, width: int = 30) -> Predict:
    """Boosted trees on made-up rows: the text format."""
    import lightgbm

    rows, classes = wide_rows(width=width)
    parameters = {"objective": "binary", "verbose": -1, "num_threads": 1}
    booster = lightgbm.train(parameters, lightgbm.Dataset(rows, classes), trees)
    booster.save_model(path)
    return booster.predict


def save_onnx_mlp(path: Path, sizes: tuple[int, ...] = (784, 512, 512, 10)) -> Predict:
    """A network of random weights with ReLU between its layers and a free batch dimension."""
    import onnx
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    generator = np.random.default_rng(3)
    nodes, weights, current = [], [], "pixels"
    for index, (width, next_width) in enumerate(itertools.pairwise(sizes)):
        matrix = (generator.standard_normal((width, next_width)) / width**0.5).astype(np.float32)
        weights.append(numpy_helper.from_array(matrix, f"w{index}"))
        weights.append(numpy_helper.from_array(np.zeros(next_width, np.float32), f"b{index}"))
        is_last = index == len(sizes) - 2
        result = "scores" if is_last else f"h{index}"
        nodes.append(helper.make_node("Gemm", [current, f"w{index}", f"b{index}"], [result]))
        if not is_last:
            nodes.append(helper.make_node("Relu", [result], [f"r{index}"]))
            current = f"r{index}"
    graph = helper.make_graph(
        nodes,
        "mlp",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["batch", sizes[0]])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["batch", sizes[-1]])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda data: session.run(None, {"pixels": np.asarray(data, np.float32)})[0]


def save_onnx_two_inputs(path: Path) -> Predict:
    """`sum` and `product` of the inputs `a` and `b`."""
    import onnxruntime
    from onnx import TensorProto, helper

    def info(name: str) -> Any:
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", 2])

    graph = helper.make_graph(
        [
            helper.make_node("Add", ["a", "b"], ["sum"]),
            helper.make_node("Mul", ["a", "b"], ["product"]),
        ],
        "pair",
        [info("a"), info("b")],
        [info("sum"), info("product")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path.write_bytes(model.SerializeToString())
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return lambda feed: session.run(None, feed)


def save_onnx_zipmap(path: Path) -> Predict:
    """scikit-learn's logistic regression converted with its maps of probabilities left in."""
    from skl2onnx import to_onnx
    from sklearn.linear_model import LogisticRegression

    rows, classes = iris()
    model = LogisticRegression(max_iter=500).fit(rows.astype(np.float32), classes)
    path.write_bytes(to_onnx(model, rows[:1].astype(np.float32)).SerializeToString())
    return model.predict_proba


def save_python_class(path: Path) -> Predict:
    """A class without any framework: the sum of each row."""
    path.write_text(
        "import numpy as np\n\n\n"
        "class Sum:\n"
        "    batchable = True\n\n"
        "    def predict(self, rows: np.ndarray) -> np.ndarray:\n"
        "        return rows.sum(axis=1)\n"
    )
    return lambda data: np.asarray(data).sum(axis=1)
