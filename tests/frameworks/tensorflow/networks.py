"""Small models: trained with Keras, written as a module, and built as a graph of TensorFlow 1."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np

from salver.runtimes.tensorflow_import import tensorflow as tf

v1 = tf.compat.v1


def trained_mlp() -> tuple[Any, Any]:
    """Three classes of rows of four numbers."""
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((48, 4)).astype(np.float32)
    model = keras.Sequential(
        [
            keras.Input((4,), name="flowers"),
            keras.layers.Dense(16, activation="relu"),
            keras.layers.BatchNormalization(),
            keras.layers.Dropout(0.5),
            keras.layers.Dense(3, activation="softmax"),
        ]
    )
    return _fitted(model, rows, rows[:, :3].argmax(1), "sparse_categorical_crossentropy"), rows


def trained_words() -> tuple[Any, Any]:
    """Two numbers for a sentence of any length."""
    tokens = np.random.default_rng(1).integers(0, 20, (48, 7), dtype=np.int64)
    taken = keras.Input((None,), dtype="int64", name="tokens")
    embedded = keras.layers.Embedding(20, 5)(taken)
    answer = keras.layers.Dense(2)(keras.layers.GlobalAveragePooling1D()(embedded))
    model = keras.Model(taken, answer)
    return _fitted(model, tokens, tokens[:, :2] / 20, "mse"), tokens


def trained_pair() -> tuple[Any, dict[str, Any]]:
    """Two inputs, two outputs."""
    rng = np.random.default_rng(2)
    user = rng.standard_normal((48, 2)).astype(np.float32)
    item = rng.standard_normal((48, 4)).astype(np.float32)
    left, right = keras.Input((2,), name="user"), keras.Input((4,), name="item")
    both = keras.layers.Concatenate()([left, right])
    score = keras.layers.Dense(1, name="score")(keras.layers.Dense(8, activation="tanh")(both))
    model = keras.Model({"user": left, "item": right}, {"score": score, "both": both})
    model.compile("adam", {"score": "mse", "both": None})
    wanted = {"score": user[:, :1] * item[:, :1]}
    model.fit({"user": user, "item": item}, wanted, epochs=2, verbose=0)
    return model, {"user": user, "item": item}


def _fitted(model: Any, rows: Any, wanted: Any, loss: str) -> Any:
    model.compile("adam", loss)
    model.fit(rows, wanted, epochs=3, verbose=0)
    return model


class Texts(tf.Module):  # type: ignore[misc]
    """Signatures of numbers, of strings into numbers, and of strings into strings."""

    def __init__(self) -> None:
        self.factors = tf.Variable([[1.0, 2.0], [3.0, 4.0]])
        keys, codes = tf.constant(["red", "green"]), tf.constant([1, 2], tf.int64)
        filling = tf.lookup.KeyValueTensorInitializer(keys, codes)
        self.table = tf.lookup.StaticHashTable(filling, -1)

    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, name="x")])
    def scaled(self, x: Any) -> Any:
        return {"y": x @ self.factors}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="words")])
    def codes(self, words: Any) -> Any:
        return {"code": self.table.lookup(words), "upper": tf.strings.upper(words)}

    @tf.function(
        input_signature=[
            tf.TensorSpec([None], tf.int8, name="small"),
            tf.TensorSpec([None], tf.bfloat16, name="coarse"),
        ]
    )
    def counts(self, small: Any, coarse: Any) -> Any:
        return {"sum": small + 1, "half": coarse / 2}


def save_census(folder: Path) -> None:
    """A graph that takes serialised Examples, to classify and to regress, as estimators do."""
    with tf.Graph().as_default(), v1.Session() as session:
        examples = v1.placeholder(tf.string, [None], name="examples")
        features = {
            "age": tf.io.FixedLenFeature([1], tf.float32),
            "town": tf.io.FixedLenFeature([1], tf.string, default_value=""),
        }
        parsed = tf.io.parse_example(examples, features)
        weight = v1.get_variable("weight", initializer=[[0.02]])
        city = tf.cast(tf.equal(parsed["town"], "york"), tf.float32)
        aged = parsed["age"] @ weight
        value = aged + city
        scores = tf.concat([1 - value, value], 1)
        names = tf.tile(tf.constant([["no", "yes"]]), [tf.shape(value)[0], 1])
        session.run(v1.global_variables_initializer())
        build = v1.saved_model.signature_def_utils
        builder = v1.saved_model.Builder(str(folder))
        builder.add_meta_graph_and_variables(
            session,
            ["serve"],
            signature_def_map={
                "serving_default": build.classification_signature_def(examples, names, scores),
                "regression": build.regression_signature_def(examples, value),
                "predict": build.predict_signature_def({"age": parsed["age"]}, {"aged": aged}),
            },
        )
        builder.save()


class Mean(tf.Module):  # type: ignore[misc]
    """Each answer depends on all rows; and one that takes two rows only."""

    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, name="x")])
    def centred(self, x: Any) -> Any:
        return {"y": x - tf.reduce_mean(x, 0)}

    @tf.function(input_signature=[tf.TensorSpec([2, 2], tf.float32, name="x")])
    def fixed(self, x: Any) -> Any:
        return {"y": x + 1, "sum": tf.reduce_sum(x)}


def save_extras(folder: Path) -> None:
    module = Mean()
    tf.saved_model.save(module, str(folder / "centred"), signatures=module.centred)
    tf.saved_model.save(module, str(folder / "fixed"), signatures=module.fixed)
    tf.saved_model.save(module, str(folder / "unsigned"))
