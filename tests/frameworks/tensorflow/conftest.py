"""Trained models of each kind, saved in each format once for all tests."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parents[3]))

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from salver.runtimes.tensorflow_import import tensorflow as tf


@pytest.fixture(scope="session")
def zoo(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The models by name, with rows for each, and `folder` where all lie saved."""
    from tests.frameworks.tensorflow import networks as n

    tf.keras.utils.set_random_seed(0)
    folder = tmp_path_factory.mktemp("zoo")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mlp, flowers = n.trained_mlp()
        words, tokens = n.trained_words()
        pair, sides = n.trained_pair()
        texts = n.Texts()
        for name, model in {"mlp": mlp, "words": words, "pair": pair}.items():
            model.export(str(folder / name), verbose=False)
            model.save(folder / f"{name}.keras")
            model.save(folder / f"{name}.h5")
        signatures = {"serving_default": texts.scaled, "codes": texts.codes, "counts": texts.counts}
        tf.saved_model.save(texts, str(folder / "texts"), signatures=signatures)
        n.save_census(folder / "census")
        n.save_extras(folder)
    rows = {"mlp": {"flowers": flowers}, "words": {"tokens": tokens}, "pair": sides}
    models = {"mlp": mlp, "words": words, "pair": pair, "texts": texts}
    return SimpleNamespace(models=models, rows=rows, folder=folder)
