"""Makes the models in `models/`: run it with the Python of tests/frameworks/tensorflow.

    .venvs/tensorflow/bin/python tests/frameworks/tflite/make_models.py

They are committed, since TensorFlow is not there to make them where LiteRT is tested. Beside each
model `answers.json` has what TensorFlow's own interpreter, or Keras, answered to its rows.
"""

from __future__ import annotations

import json
import os
import zipfile
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf

HERE = Path(__file__).parent / "models"
ROWS = np.random.default_rng(0).standard_normal((32, 4)).astype(np.float32)


def main() -> None:
    keras.utils.set_random_seed(0)
    HERE.mkdir(exist_ok=True)
    model = trained()
    answers: dict[str, Any] = {"rows": ROWS[:6].tolist()}
    answers["flowers"] = model(ROWS[:6], training=False).numpy().tolist()
    free = tf.lite.TFLiteConverter.from_keras_model(model).convert()
    (HERE / "flowers.tflite").write_bytes(free)
    with zipfile.ZipFile(HERE / "flowers.tflite", "a") as archive:
        archive.writestr("labels.txt", "setosa\nversicolor\nvirginica\n")
    (HERE / "unset.tflite").write_bytes(without_values(model))
    single = keras.Sequential([keras.Input((4,), batch_size=1, name="x"), *model.layers])
    (HERE / "fixed.tflite").write_bytes(tf.lite.TFLiteConverter.from_keras_model(single).convert())
    bare = v1_graph_of(model)
    (HERE / "unsigned.tflite").write_bytes(bare)
    quantised = tf.lite.TFLiteConverter.from_keras_model(model)
    quantised.optimizations = [tf.lite.Optimize.DEFAULT]
    quantised.representative_dataset = lambda: ([row[None]] for row in ROWS)
    quantised.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    quantised.inference_input_type = quantised.inference_output_type = tf.int8
    content = quantised.convert()
    (HERE / "quantised.tflite").write_bytes(content)
    answers["quantised"] = quantised_answers(content)
    two = Two()
    signatures = {"double": two.double, "serving_default": two.add}
    tf.saved_model.save(two, "/tmp/salver-two", signatures=signatures)
    converter = tf.lite.TFLiteConverter.from_saved_model("/tmp/salver-two", list(signatures))
    (HERE / "two.tflite").write_bytes(converter.convert())
    (HERE / "answers.json").write_text(json.dumps(answers) + "\n")


def trained() -> Any:
    model = keras.Sequential(
        [
            keras.Input((4,), name="x"),
            keras.layers.Dense(8, activation="relu"),
            keras.layers.Dense(3, activation="softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(ROWS, ROWS[:, :3].argmax(1), epochs=5, verbose=0)
    return model


def without_values(model: Any) -> bytes:
    """What the converter makes of a Keras model within a module: variables that nothing sets."""
    module = tf.Module()
    module.model = model
    rows = tf.TensorSpec([1, 4], tf.float32, name="x")
    module.call = tf.function(lambda x: {"y": model(x, training=False)}, input_signature=[rows])
    tf.saved_model.save(module, "/tmp/salver-unset", signatures=module.call)
    content: bytes = tf.lite.TFLiteConverter.from_saved_model("/tmp/salver-unset").convert()
    return content


def v1_graph_of(model: Any) -> bytes:
    """Converted as models of TensorFlow 1 were: without a signature."""
    first, second = (layer.get_weights() for layer in model.layers)
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        x = tf.compat.v1.placeholder(tf.float32, [None, 4], name="x")
        hidden = tf.nn.relu(x @ tf.constant(first[0]) + first[1])
        y = tf.nn.softmax(hidden @ tf.constant(second[0]) + second[1], name="y")
        content: bytes = tf.compat.v1.lite.TFLiteConverter.from_session(session, [x], [y]).convert()
        return content


def quantised_answers(content: bytes) -> list[list[int]]:
    interpreter = tf.lite.Interpreter(model_content=content)
    run = interpreter.get_signature_runner()
    name, details = next(iter(run.get_input_details().items()))
    scale, zero = details["quantization"]
    rows = np.clip(np.round(ROWS[:6] / scale + zero), -128, 127).astype(np.int8)
    return [rows.tolist(), next(iter(run(**{name: rows}).values())).tolist()]


class Two(tf.Module):
    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float32, name="x")])
    def double(self, x: Any) -> Any:
        return {"y": x * 2}

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, 2], tf.int64, name="a"),
            tf.TensorSpec([None, 2], tf.int64, name="b"),
        ]
    )
    def add(self, a: Any, b: Any) -> Any:
        return {"total": a + b}


if __name__ == "__main__":
    main()
