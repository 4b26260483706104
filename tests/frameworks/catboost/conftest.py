"""Trained CatBoost models of each kind, saved once for all tests."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

sys.path.insert(0, str(Path(__file__).parents[3]))

import catboost

SETTINGS = {"iterations": 30, "verbose": 0, "allow_writing_files": False, "thread_count": 1}


@pytest.fixture(scope="session")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The models by name, rows for each, and `folder` where each lies as NAME.cbm."""
    random = np.random.default_rng(0)
    rows = random.normal(size=(300, 5))
    rows[random.random(rows.shape) < 0.05] = np.nan
    score = np.nan_to_num(rows[:, 0] + rows[:, 1] * rows[:, 2])
    words = np.array(["bad", "fair", "très bon"], dtype=object)[np.digitize(score, [-0.5, 0.5])]
    people = pd.DataFrame(
        {
            "age": rows[:, 0],
            "city": random.choice(["Ulm", "Köln", "Rome"], 300),
            "floor": random.integers(0, 4, 300).astype(str),
            "said": random.choice(["good film", "awful film", "very good"], 300),
        }
    )
    classifier, regressor = catboost.CatBoostClassifier, catboost.CatBoostRegressor
    uneven = {"grow_policy": "Lossguide", "max_leaves": 8}
    models = {
        "binary": classifier(**SETTINGS).fit(rows, (score > 0).astype(int)),
        "texts": classifier(**SETTINGS).fit(rows, words),
        "uneven": classifier(**SETTINGS, **uneven).fit(rows, words),
        "ova": classifier(**SETTINGS, loss_function="MultiClassOneVsAll").fit(rows, words),
        "labels": classifier(**SETTINGS, loss_function="MultiLogloss").fit(
            rows, np.column_stack((score > 0, score > 1)).astype(int)
        ),
        "value": regressor(**SETTINGS).fit(rows, score),
        "count": regressor(**SETTINGS, loss_function="Poisson").fit(rows, np.abs(score)),
        "named": regressor(**SETTINGS).fit(pd.DataFrame(rows, columns=list("abcde")), score),
        "people": classifier(
            **SETTINGS, cat_features=["city", "floor"], text_features=["said"]
        ).fit(people, words),
    }
    folder = tmp_path_factory.mktemp("zoo")
    for name, model in models.items():
        model.save_model(str(folder / f"{name}.cbm"))
    models["value"].save_model(str(folder / "value.json"), format="json")
    return SimpleNamespace(models=models, rows=rows, people=people, folder=folder)
