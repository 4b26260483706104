"""Trains the models `iris.skops` and, its successor, `iris-scaled.skops` on Fisher's irises."""

from pathlib import Path

import skops.io
from sklearn.datasets import load_iris
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

if __name__ == "__main__":
    iris = load_iris(as_frame=True)
    folder = Path(__file__).parent
    model = LogisticRegression(max_iter=1000).fit(iris.data, iris.target)
    skops.io.dump(model, folder / "iris.skops")
    scaled = make_pipeline(StandardScaler(), LogisticRegression()).fit(iris.data, iris.target)
    skops.io.dump(scaled, folder / "iris-scaled.skops")
