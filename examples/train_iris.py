"""Trains the example model, a logistic regression on Fisher's irises: `examples/iris.skops`."""

from pathlib import Path

import skops.io
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression

if __name__ == "__main__":
    iris = load_iris(as_frame=True)
    model = LogisticRegression(max_iter=1000).fit(iris.data, iris.target)
    skops.io.dump(model, Path(__file__).with_name("iris.skops"))
