"""The requests of `model_warmup`, which a model answers before it is ready.

Owns how samples are made: zeros, random numbers (from a seed, so that every worker has the same),
or the bytes of a file in the model's folder `warmup`. A model that refuses one does not load.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from salver.errors import LoadFailed
from salver.inference.tensor import NUMPY_TYPES, Array, InferRequest, Tensor
from salver.runtimes.loading import first_lines
from salver.runtimes.ports import AskedRequest, LoadedModel
from salver.runtimes.triton_shapes import datatype_of
from salver.spec.triton_config import TritonConfig, Warmup, WarmupInput

_MOST_ELEMENTS = 64 << 20
_FOLDER = "warmup"


def warm_up(model: LoadedModel, config: TritonConfig, folder: Path, name: str) -> None:
    """Has the model answer the samples, as often as they say. Raises `LoadFailed`."""
    for number, sample in enumerate(config.model_warmup):
        label = f"model '{name}': model_warmup '{sample.name or number}'"
        request = warmup_sample(sample, config, folder, label)
        for _ in range(max(1, sample.count)):
            try:
                _ask(model, request)
            except Exception as error:
                raise LoadFailed(
                    f"{label} failed with {type(error).__name__}: {first_lines(error)}"
                ) from error


def _ask(model: LoadedModel, request: InferRequest) -> None:
    stream = getattr(model, "stream", None)
    if stream is not None:
        list(stream(request))
        return
    each = getattr(model, "predict_each", None)
    if each is None:
        model.predict(request)
        return
    controls = {"sequence_id": 1, "sequence_start": True, "sequence_end": True}
    (answer,) = each([AskedRequest(request, parameters=controls)])
    if isinstance(answer, Exception):
        raise answer


def warmup_sample(sample: Warmup, config: TritonConfig, folder: Path, label: str) -> InferRequest:
    """The request of a sample. Raises `LoadFailed` for a file that is not as the sample says."""
    rows = (max(1, sample.batch_size),) if config.max_batch_size > 0 else ()
    tensors = []
    for name, given in sample.inputs.items():
        shape = (*rows, *given.dims)
        if math.prod(shape) > _MOST_ELEMENTS:
            raise LoadFailed(f"{label}: input '{name}' has {math.prod(shape)} elements: too many")
        datatype = datatype_of(given.data_type)
        array = _array(given, shape, folder, f"{label}: input '{name}'")
        tensors.append(Tensor(name, datatype, array))
    return InferRequest(tuple(tensors))


def _array(given: WarmupInput, shape: tuple[int, ...], folder: Path, label: str) -> Array:
    dtype = NUMPY_TYPES[datatype_of(given.data_type)]
    if given.input_data_file:
        return _read(given, shape, folder / _FOLDER / given.input_data_file, label)
    if dtype == np.object_:
        array = np.empty(shape, dtype)
        array[...] = b""
        return array
    if given.random_data:
        numbers = np.random.default_rng(0).random(shape)
        return (numbers * (1 if dtype.kind == "f" else 100)).astype(dtype)
    return np.zeros(shape, dtype)


def _read(given: WarmupInput, shape: tuple[int, ...], file: Path, label: str) -> Array:
    """The file's bytes as one row, given to every row of the batch as Triton does it."""
    try:
        data = file.read_bytes()
    except OSError as error:
        raise LoadFailed(f"{label}: {file} cannot be read: {error.strerror}") from error
    dtype = NUMPY_TYPES[datatype_of(given.data_type)]
    if dtype == np.object_:
        row = _texts(data, label)
    elif len(data) % dtype.itemsize:
        raise LoadFailed(f"{label}: {file} has {len(data)} bytes, no whole number of elements")
    else:
        row = np.frombuffer(data, dtype.newbyteorder("<"))
    count = math.prod(given.dims)
    if row.size not in (count, math.prod(shape)):
        raise LoadFailed(f"{label}: {file} holds {row.size} elements, its dims say {count}")
    return (
        row.reshape(shape)
        if row.size == math.prod(shape)
        else np.broadcast_to(row.reshape(given.dims), shape)
    )


def _texts(data: bytes, label: str) -> Array:
    found, at = [], 0
    while at < len(data):
        size = int.from_bytes(data[at : at + 4], "little")
        if at + 4 + size > len(data):
            raise LoadFailed(f"{label}: its texts run past the end of the file")
        found.append(data[at + 4 : at + 4 + size])
        at += 4 + size
    array = np.empty(len(found), np.object_)
    array[:] = found
    return array
