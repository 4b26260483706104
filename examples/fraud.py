"""A graph in Python: two models agree on large amounts, rules decide on small ones."""

import numpy as np

import salver
from salver import average, model


@salver.step
def features(x: np.ndarray) -> np.ndarray:
    return np.log1p(x)


@salver.step
def is_amount_large(f: np.ndarray) -> bool:
    return bool((f[:, 0] > 5).any())


@salver.graph
def fraud(x):
    f = features(x)
    return average(model("gbm")(f), model("mlp")(f)) if is_amount_large(f) else model("rules")(f)
