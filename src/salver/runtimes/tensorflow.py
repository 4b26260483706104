"""TensorFlow and Keras models: SavedModels with their signatures, `.keras` and HDF5 files.

Owns the device, the threads and the order of loading. All become one session, whose signatures
are called directly; a Keras file is made a SavedModel first, in a folder that is removed again.

A fork server may import TensorFlow: that starts no thread and no device, the session does.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from salver.errors import LoadFailed, SalverError
from salver.inference.tensor import Array
from salver.runtimes.loading import first_lines, framework_module, load_failures
from salver.runtimes.ports import LoadedModel, ModelSource
from salver.runtimes.tensorflow_keras import exported, is_keras
from salver.runtimes.tensorflow_probe import is_rowwise
from salver.runtimes.tensorflow_session import SessionFunction, functions_of, session_of
from salver.runtimes.tensorflow_settings import TensorflowSettings, settings_of
from salver.runtimes.tensorflow_signatures import (
    SignedModel,
    default_signature,
    described,
    named_refusals,
)
from salver.runtimes.tensorflow_warmup import WARMUP_FILE, WarmupRequest, warmup_requests

_SAVED_MODELS = ("saved_model.pb", "saved_model.pbtxt")


class TensorflowRuntime:
    """Loads models with the installed TensorFlow."""

    name = "tensorflow"
    framework = "tensorflow-cpu"
    preload = ("salver.runtimes.tensorflow_import",)

    def load(self, source: ModelSource) -> LoadedModel:
        settings = settings_of(TensorflowSettings, self.name, source.name, source.parameters)
        path = _model_path(source)
        framework_module(source, "tensorflow", "tensorflow")
        tf = framework_module(source, "salver.runtimes.tensorflow_import", "tensorflow").tensorflow
        with named_refusals(source), load_failures(source, f"TensorFlow {tf.__version__}"):
            config = _config(tf, source, settings.device)
            if path.is_dir():
                return _served(tf, source, path, settings, config)
            with tempfile.TemporaryDirectory(prefix="salver-keras-") as folder:
                exported(tf, source.name, path, Path(folder))
                return _served(tf, source, Path(folder), settings, config, platform="keras")


def _model_path(source: ModelSource) -> Path:
    """The SavedModel's folder, of several versions the newest; or the Keras file."""
    path = source.path
    if path.is_file():
        if path.name in _SAVED_MODELS:
            return path.parent
        if not is_keras(path):
            raise LoadFailed(
                f"model '{source.name}': {path} is neither a .keras archive nor HDF5; name one, or "
                "the folder of a SavedModel"
            )
        return path
    if _is_saved_model(path):
        return path
    versions = [each for each in path.iterdir() if each.name.isdecimal() and _is_saved_model(each)]
    if not versions:
        raise LoadFailed(
            f"model '{source.name}': {path} has no saved_model.pb, nor a folder by the number of a "
            "version that has one; name the folder of the SavedModel"
        )
    return max(versions, key=lambda each: int(each.name))


def _is_saved_model(path: Path) -> bool:
    return any((path / each).is_file() for each in _SAVED_MODELS)


def _served(
    tf: Any,
    source: ModelSource,
    folder: Path,
    settings: TensorflowSettings,
    config: Any,
    platform: str = "tensorflow_savedmodel",
) -> SignedModel:
    session, graph = session_of(tf, folder, settings.tags, config)
    functions = functions_of(tf, session, graph, source.name)
    default = default_signature(list(functions), settings.signature)
    _warm_up(tf, folder, functions, default)
    found = [is_rowwise(each, source.name) for each in functions.values()]
    learnt = all(source.batch_requested if each is None else each for each in found)
    batchable = learnt if settings.batchable is None else settings.batchable
    metadata = described(
        functions,
        default,
        platform=platform,
        version=str(tf.__version__),
        batchable=batchable,
        labels=settings.labels,
    )
    return SignedModel(functions, default, metadata)


def _warm_up(tf: Any, folder: Path, functions: Mapping[str, SessionFunction], default: str) -> None:
    """Asks what the model was saved with. Raises `LoadFailed` for a request that it refuses."""
    path = folder / WARMUP_FILE
    if not path.is_file():
        return
    try:
        requests = warmup_requests(path)
    except ValueError as error:
        raise LoadFailed(f"its warm-up requests ({path}) cannot be read: {error}") from error
    for index, request in enumerate(requests):
        try:
            _ask(tf, functions, request, default)
        except (SalverError, KeyError, ValueError, TypeError) as error:
            raise LoadFailed(
                f"its warm-up request {index} in {path} fails: {first_lines(error)}; record "
                "requests of this model, or remove the file"
            ) from error


def _ask(
    tf: Any, functions: Mapping[str, SessionFunction], request: WarmupRequest, default: str
) -> None:
    from tensorflow.core.framework import tensor_pb2

    name = request.signature or default
    if name not in functions:
        raise ValueError(f"there is no signature '{name}'")
    function = functions[name]
    given: dict[str, Array] = dict(function.defaults)
    if request.examples:
        texts = np.empty(len(request.examples), dtype=object)
        texts[:] = request.examples
        given |= dict.fromkeys((each.name for each in function.metadata.inputs), texts)
    for key, content in request.inputs.items():
        given[key] = tf.make_ndarray(tensor_pb2.TensorProto.FromString(content))
    missing = [each.name for each in function.metadata.inputs if each.name not in given]
    if missing:
        raise ValueError(f"it lacks the input '{missing[0]}'")
    arrays = [given[each.name] for each in function.metadata.inputs]
    function.run(arrays, [each.name for each in function.metadata.outputs])


def _config(tf: Any, source: ModelSource, wanted: str) -> Any:
    """How a session is to run. Raises `LoadFailed` for a device that is not there.

    This process is one replica: what is set for it, no other replica gets.
    """
    _limit_threads(tf, source.threads)
    # Operators run one after the other in the thread that asks; only the work within one is shared.
    config = tf.compat.v1.ConfigProto(
        intra_op_parallelism_threads=source.threads,
        inter_op_parallelism_threads=-1,
        allow_soft_placement=True,
    )
    config.gpu_options.allow_growth = True
    kind, _, index = wanted.partition(":")
    devices = [] if kind == "cpu" else tf.config.list_physical_devices("GPU")
    if kind == "cpu" or not devices:
        if kind == "gpu":
            raise LoadFailed(
                f"model '{source.name}': device {wanted} cannot be had: there is no GPU that "
                f"TensorFlow {tf.__version__} can use here; choose device cpu or auto"
            )
        config.device_count["GPU"] = 0
        return config
    if int(index or 0) >= len(devices):
        raise LoadFailed(
            f"model '{source.name}': device {wanted} cannot be had: there are {len(devices)} GPUs; "
            "choose a lower number, or device auto"
        )
    for device in devices:
        # For what Keras does before there is a session.
        tf.config.experimental.set_memory_growth(device, True)
    if index:
        config.gpu_options.visible_device_list = index
    return config


def _limit_threads(tf: Any, threads: int) -> None:
    """For what runs outside of the session: Keras reading and exporting a model."""
    threading = tf.config.threading
    try:
        threading.set_intra_op_parallelism_threads(threads)
        threading.set_inter_op_parallelism_threads(1)
    except RuntimeError as error:
        # Only a process that has loaded another model before has started them: a test's.
        if "after initialization" not in str(error):
            raise
