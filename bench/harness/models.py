"""Makes the models that every server gets, and the right answers to the rows sent.

The answers come from the library's own `predict`, here, never from a server. Needs the
development environment (scikit-learn, XGBoost, onnx, onnxruntime).
"""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

TENSOR_VALUES = 262_144
"""FP32 values in 1 MiB."""


def make_models(folder: Path) -> None:
    """Writes each model as NAME.SUFFIX with NAME.npz (rows, answers), unless it is there."""
    makers: dict[str, Callable[[Path], tuple[Any, Any]]] = {
        "lr.joblib": _logistic_regression,
        "xgb.ubj": _xgboost,
        "mlp.onnx": _perceptron,
        "rowsum.onnx": _row_sum,
        "same.onnx": _identity,
    }
    folder.mkdir(parents=True, exist_ok=True)
    import numpy as np

    for name, make in makers.items():
        path = folder / name
        known = path.with_suffix(".npz")
        if known.exists():
            continue
        rows, answers = make(path)
        np.savez(known, rows=rows, answers=answers)


def _logistic_regression(path: Path) -> tuple[Any, Any]:
    import joblib
    import numpy as np
    from sklearn.datasets import load_iris
    from sklearn.linear_model import LogisticRegression

    rows, labels = load_iris(return_X_y=True)
    model = LogisticRegression(max_iter=1000).fit(rows, labels)
    joblib.dump(model, path)
    arithmetic = {
        "coef": model.coef_.tolist(),
        "intercept": model.intercept_.tolist(),
        "classes": model.classes_.tolist(),
    }
    path.with_suffix(".json").write_text(json.dumps(arithmetic))
    sent = rows[[77]].astype(np.float32)
    return sent, model.predict(sent)


def _xgboost(path: Path) -> tuple[Any, Any]:
    import numpy as np
    from xgboost import XGBRegressor

    random = np.random.default_rng(7)
    rows = random.normal(size=(4000, 30)).astype(np.float32).round(4)
    target = rows[:, 0] * rows[:, 1] + np.sin(rows[:, 2]) + rows[:, 3:8].sum(axis=1)
    model = XGBRegressor(n_estimators=100, max_depth=6, n_jobs=1).fit(rows, target)
    model.save_model(path)
    return rows[:100], model.predict(rows[:100])


def _perceptron(path: Path) -> tuple[Any, Any]:
    import numpy as np
    from onnx import helper, numpy_helper

    random = np.random.default_rng(8)
    nodes, weights, source = [], [], "x"
    sizes = [784, 512, 512, 10]
    for layer, (fan_in, fan_out) in enumerate(pairwise(sizes)):
        last = layer == len(sizes) - 2
        weight = random.normal(scale=fan_in**-0.5, size=(fan_in, fan_out)).astype(np.float32)
        bias = random.normal(size=fan_out).astype(np.float32)
        weights += [
            numpy_helper.from_array(weight, f"w{layer}"),
            numpy_helper.from_array(bias, f"b{layer}"),
        ]
        target = "y" if last else f"z{layer}"
        nodes.append(helper.make_node("Gemm", [source, f"w{layer}", f"b{layer}"], [target]))
        if not last:
            nodes.append(helper.make_node("Relu", [target], [f"a{layer}"]))
            source = f"a{layer}"
    _save_onnx(path, nodes, weights, 784, 10)
    return _answered_by_onnxruntime(path, random.random((1, 784)).astype(np.float32).round(4))


def _row_sum(path: Path) -> tuple[Any, Any]:
    import numpy as np
    from onnx import helper, numpy_helper

    axes = numpy_helper.from_array(np.array([1], dtype=np.int64), "axes")
    _save_onnx(
        path, [helper.make_node("ReduceSum", ["x", "axes"], ["y"])], [axes], TENSOR_VALUES, 1
    )
    return _answered_by_onnxruntime(path, _large_row())


def _identity(path: Path) -> tuple[Any, Any]:
    from onnx import helper

    node = helper.make_node("Identity", ["x"], ["y"])
    _save_onnx(path, [node], [], TENSOR_VALUES, TENSOR_VALUES)
    return _answered_by_onnxruntime(path, _large_row())


def _large_row() -> Any:
    import numpy as np

    return np.random.default_rng(9).random((1, TENSOR_VALUES)).astype(np.float32).round(4)


def _save_onnx(path: Path, nodes: list[Any], weights: list[Any], wide: int, out: int) -> None:
    """One FP32 input `x` [rows, wide], one output `y` [rows, out]."""
    import onnx
    from onnx import TensorProto, helper

    graph = helper.make_graph(
        nodes,
        path.stem,
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", wide])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", out])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, path)


def _answered_by_onnxruntime(path: Path, rows: Any) -> tuple[Any, Any]:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return rows, session.run(None, {"x": rows})[0]
