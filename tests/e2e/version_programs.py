"""Programs that make a model and say what its library answers; each runs in an old or new version.

Each gets the path to save at, and prints a JSON object: `version`, `inputs` and `expected` (arrays
by name, each a list of its datatype and its values), and what else the question is to have.
"""

from __future__ import annotations

_SAY = """
import json, sys, warnings
warnings.simplefilter("ignore")
import numpy as np

PATH = sys.argv[1]
RANDOM = np.random.default_rng(7)
ROWS = RANDOM.standard_normal((200, 6))
CLASSES = (ROWS[:, 0] + ROWS[:, 1] > 0).astype(int)
ASKED = ROWS[:7]


def plain(arrays):
    arrays = {name: np.asarray(value) for name, value in arrays.items()}
    return {
        name: ["object" if value.dtype.kind in "OUS" else str(value.dtype), value.tolist()]
        for name, value in arrays.items()
    }


def say(version, inputs, expected, **more):
    told = {"version": version, "inputs": plain(inputs), "expected": plain(expected)}
    print("\\n" + json.dumps({**told, **more}))
"""
SKLEARN = """
import joblib, sklearn
from sklearn.ensemble import RandomForestClassifier
model = RandomForestClassifier(20, random_state=0).fit(ROWS, CLASSES)
joblib.dump(model, PATH)
say(sklearn.__version__, {"input-0": ASKED}, {"predict": model.predict(ASKED)})
"""
XGBOOST = """
import xgboost
data = xgboost.DMatrix(ROWS, CLASSES)
settings = {"objective": "binary:logistic", "max_depth": 4, "nthread": 1}
model = xgboost.train(settings, data, 20)
model.save_model(PATH)
asked = ASKED.astype(np.float32)
answer = model.predict(xgboost.DMatrix(asked))
say(xgboost.__version__, {"input-0": asked}, {"predict": answer})
"""
LIGHTGBM = """
import lightgbm
settings = {"objective": "binary", "verbose": -1, "num_threads": 1}
model = lightgbm.train(settings, lightgbm.Dataset(ROWS, CLASSES), 20)
model.save_model(PATH)
say(lightgbm.__version__, {"input-0": ASKED}, {"predict": model.predict(ASKED)})
"""
CATBOOST = """
import catboost
model = catboost.CatBoostClassifier(
    iterations=20, verbose=0, allow_writing_files=False, thread_count=1
).fit(ROWS, np.array(["no", "yes"])[CLASSES])
model.save_model(PATH)
answer = model.predict(ASKED).reshape(-1)
say(catboost.__version__, {"input-0": ASKED}, {"predict": answer})
"""
ONNX = """
import shutil, onnxruntime
source = sys.argv[2]
shutil.copy(source, PATH)
asked = RANDOM.random((3, 16), dtype=np.float32)
session = onnxruntime.InferenceSession(PATH, providers=["CPUExecutionProvider"])
answer = session.run(None, {"pixels": asked})[0]
say(onnxruntime.__version__, {"pixels": asked}, {"scores": answer})
"""
OPENVINO = """
import openvino
try:
    from openvino import opset8 as ops, save_model, Model
except ImportError:
    from openvino.runtime import opset8 as ops
    from openvino import save_model, Model
weights = RANDOM.standard_normal((6, 3)).astype(np.float32)
taken = ops.parameter([-1, 6], np.float32, name="rows")
given = ops.softmax(ops.matmul(taken, ops.constant(weights), False, False), 1)
model = Model([given], [taken], "scores")
model.inputs[0].tensor.set_names({"rows"})
model.outputs[0].tensor.set_names({"scores"})
save_model(model, PATH, compress_to_fp16=False)
asked = ASKED.astype(np.float32)
exact = {"INFERENCE_PRECISION_HINT": "f32"}
answer = openvino.Core().compile_model(PATH, "CPU", exact)(asked)[0]
say(openvino.__version__.split("-")[0], {"rows": asked}, {"scores": answer})
"""
_NETWORK = """
import os
os.environ.update(TF_CPP_MIN_LOG_LEVEL="3", CUDA_VISIBLE_DEVICES="")
import tensorflow as tf
import keras
keras.utils.set_random_seed(0)
model = keras.Sequential([
    keras.layers.InputLayer(SHAPE(6), name="rows"),
    keras.layers.Dense(8, activation="relu"),
    keras.layers.BatchNormalization(),
    keras.layers.Dense(3, activation="softmax"),
])
rows = ROWS.astype(np.float32)
model.compile("adam", "sparse_categorical_crossentropy")
model.fit(rows, rows[:, :3].argmax(1), epochs=2, verbose=0)
asked = rows[:7]
""".replace("SHAPE(6)", "(6,)")
TENSORFLOW = (
    _NETWORK
    + """
# Not as a part of a module, which TensorFlow's sessions, so TF Serving's too, cannot restore.
model.export(PATH)
answer = tf.saved_model.load(PATH).signatures["serving_default"](tf.constant(asked))
say(tf.__version__, {"?": asked}, {"?": next(iter(answer.values())).numpy()})
"""
)
KERAS = (
    _NETWORK
    + """
model.save(PATH)
answer = keras.models.load_model(PATH)(asked, training=False).numpy()
say(tf.__version__, {"?": asked}, {"?": answer}, keras=keras.__version__)
"""
)
TFLITE = """
import shutil
source = sys.argv[2]
shutil.copy(source, PATH)
import importlib.metadata
from ai_edge_litert.interpreter import Interpreter
asked = ROWS[:7, :4].astype(np.float32)
interpreter = Interpreter(model_path=PATH, num_threads=1)
runner = interpreter.get_signature_runner()
(taken,) = runner.get_input_details()
((given, _),) = runner.get_output_details().items()
answer = np.concatenate([runner(**{taken: row[None]})[given] for row in asked])
version = importlib.metadata.version("ai-edge-litert")
say(version, {taken: asked}, {given: answer})
"""
MLFLOW = """
import mlflow
from mlflow.models import infer_signature
import mlflow.pyfunc, mlflow.sklearn, sklearn
from sklearn.linear_model import LogisticRegression
import pandas as pd
frame = pd.DataFrame(ROWS, columns=list("abcdef"))
model = LogisticRegression().fit(frame, CLASSES)
needs = [f"scikit-learn=={sklearn.__version__}", f"numpy=={np.__version__}"]
more = {"serialization_format": "cloudpickle", "pip_requirements": needs}
signature = infer_signature(frame, model.predict(frame))
mlflow.sklearn.save_model(model, PATH, signature=signature, **more)
asked = frame[:7]
answer = mlflow.pyfunc.load_model(PATH).predict(asked)
say(mlflow.__version__, {"input-0": asked.to_numpy()}, {"predict": answer}, columns=list("abcdef"))
"""
HUGGING_FACE = """
import torch, transformers
from tokenizers import Tokenizer, models, pre_tokenizers
torch.manual_seed(0)
WORDS = ["[PAD]", "[UNK]", "good", "bad", "film", "the", "was"]
tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="[UNK]"))
tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
fast = transformers.PreTrainedTokenizerFast(
    tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]", model_max_length=32
)
config = transformers.BertConfig(
    vocab_size=len(WORDS), max_position_embeddings=40, hidden_size=16, num_hidden_layers=2,
    num_attention_heads=2, intermediate_size=32, id2label={0: "bad", 1: "good"},
    label2id={"bad": 0, "good": 1},
)
model = transformers.BertForSequenceClassification(config).eval()
model.save_pretrained(PATH)
fast.save_pretrained(PATH)
asked = ["good film", "the film was bad bad", "odd"]
answers = transformers.pipeline("text-classification", PATH)(asked)
expected = {key: [each[key] for each in answers] for key in ("label", "score")}
say(transformers.__version__, {"text": asked}, expected)
"""
PMML = """
import importlib.metadata, shutil
source = sys.argv[2]
shutil.copy(source, PATH)
from pypmml import Model
asked = ["red", "blue", "green"]
model = Model.load(PATH)
answers = [model.predict({"c": each}) for each in asked]
expected = {name: [each[name] for each in answers] for name in answers[0]}
say(importlib.metadata.version("pypmml"), {"c": asked}, expected)
"""
TORCH = """
import torch
torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3)).eval()
asked = ASKED.astype("float32")
torch.jit.script(model).save(PATH)
with torch.no_grad():
    answer = model(torch.from_numpy(asked)).numpy()
say(torch.__version__, {"input": asked}, {"output-0": answer})
"""
PROGRAMS = {
    name.lower().replace("hugging_face", "huggingface"): _SAY + program
    for name, program in list(globals().items())
    if name.isupper() and not name.startswith("_")
}
