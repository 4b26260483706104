"""A SavedModel as a session, and each of its signatures as a callable of it.

Owns the reading of signatures, and whose fault an error is. A session, as TensorFlow Serving has
it, answers a row in a tenth of the time that calling the loaded object takes: arrays go in and out
without becoming tensors of Python's, and operators run in the calling thread.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from salver.errors import LoadFailed, ModelFailed
from salver.inference.metadata import Datatype, SignatureMetadata, TensorMetadata
from salver.inference.tensor import Array
from salver.runtimes.tabular import refused_by
from salver.runtimes.tensorflow_graph import check_graph, graph_with_tags
from salver.runtimes.tensorflow_signatures import PREDICT, accepted

logger = logging.getLogger("salver.worker")

_DATATYPES: Mapping[str, Datatype] = {
    "bool": "BOOL",
    "uint8": "UINT8",
    "uint16": "UINT16",
    "uint32": "UINT32",
    "uint64": "UINT64",
    "int8": "INT8",
    "int16": "INT16",
    "int32": "INT32",
    "int64": "INT64",
    "float16": "FP16",
    "bfloat16": "BF16",
    "float32": "FP32",
    "float64": "FP64",
    "string": "BYTES",
}
_INTERNAL = "__saved_model_"
"""How the names begin of signatures that are no questions, such as the one that fills tables."""
_MOST_CALLABLES = 64
_BINARY, _TEXT = "saved_model.pb", "saved_model.pbtxt"


class SessionFunction:
    """One signature of a session."""

    def __init__(self, tf: Any, session: Any, name: str, definition: Any) -> None:
        self._session = session
        self._errors = tf.errors
        self._refusals = (
            *(tf.errors.InvalidArgumentError, tf.errors.OutOfRangeError),
            *(ValueError, TypeError),
        )
        self._bfloat16 = tf.bfloat16.as_numpy_dtype
        self._feeds = [each.name for each in definition.inputs.values()]
        self._fetches = {name: each.name for name, each in definition.outputs.items()}
        # TensorFlow before 2.16 knows of none.
        defaults = getattr(definition, "defaults", {})
        self.defaults: dict[str, Array] = {
            name: tf.make_ndarray(value) for name, value in defaults.items()
        }
        inputs = tuple(
            _metadata(tf, key, each, is_input=True, is_optional=key in self.defaults)
            for key, each in definition.inputs.items()
        )
        outputs = tuple(_metadata(tf, *each) for each in definition.outputs.items())
        self.metadata = SignatureMetadata(name, definition.method_name or PREDICT, inputs, outputs)
        self._has_bfloat16 = any(each.datatype == "BF16" for each in (*inputs, *outputs))
        self._callables: dict[tuple[str, ...], Any] = {}

    def run(self, arrays: Sequence[Array], outputs: Sequence[str]) -> Sequence[Array]:
        errors = self._errors
        if self._has_bfloat16:
            specs = zip(arrays, self.metadata.inputs, strict=True)
            arrays = [a.astype(self._bfloat16) if s.datatype == "BF16" else a for a, s in specs]
        try:
            found = self._callable(tuple(outputs))(*arrays)
        except (
            errors.InvalidArgumentError,
            errors.OutOfRangeError,
            ValueError,
            TypeError,
        ) as error:
            raise refused_by("TensorFlow", _as_said(error)) from error
        except errors.ResourceExhaustedError as error:
            raise MemoryError(str(error)) from error
        except errors.OpError as error:
            raise ModelFailed(f"TensorFlow failed: {_as_said(error)}") from error
        return [_array(each, self._bfloat16) for each in found]

    def _callable(self, outputs: tuple[str, ...]) -> Any:
        found = self._callables.get(outputs)
        if found is None:
            if len(self._callables) >= _MOST_CALLABLES:
                self._callables.clear()
            found = _made_callable(
                self._session, self._feeds, [self._fetches[each] for each in outputs]
            )
            self._callables[outputs] = found
        return found


def session_of(tf: Any, folder: Path, tags: Sequence[str], config: Any) -> tuple[Any, Any]:
    """A session with the variables and tables of the SavedModel, and its graph's message.

    Raises `LoadFailed` for a model that is not whole or does more than calculate, and whatever
    TensorFlow raises for one that it cannot read.
    """
    graph = graph_with_tags(_parsed(folder).meta_graphs, tags)
    check_graph(graph, folder)
    v1 = tf.compat.v1
    verbosity = v1.logging.get_verbosity()
    # That the way of TensorFlow Serving is called deprecated in Python concerns no user.
    v1.logging.set_verbosity(v1.logging.ERROR)
    try:
        with tf.Graph().as_default() as own:
            session = v1.Session(graph=own, config=config)
            v1.saved_model.load(session, list(graph.meta_info_def.tags), str(folder))
    finally:
        v1.logging.set_verbosity(verbosity)
    return session, graph


def functions_of(tf: Any, session: Any, graph: Any, name: str) -> dict[str, SessionFunction]:
    """The signatures that requests can ask for. Raises `LoadFailed` if there are none."""
    found: dict[str, SessionFunction] = {}
    reasons: list[str] = []
    for key in sorted(graph.signature_def):
        definition = graph.signature_def[key]
        if key.startswith(_INTERNAL) or not definition.outputs:
            continue
        try:
            found[key] = SessionFunction(tf, session, key, definition)
        except TypeError as error:
            reasons.append(f"signature '{key}': {error}")
            logger.warning("model '%s' is served without the signature '%s': %s", name, key, error)
    if found:
        return found
    fact = "; ".join(reasons) or "it was saved without signatures"
    raise LoadFailed(
        f"model '{name}': {fact}; save it with tf.saved_model.save(model, path, signatures=...) "
        "of functions that take and give dense tensors"
    )


def _parsed(folder: Path) -> Any:
    from google.protobuf import text_format
    from tensorflow.core.protobuf import saved_model_pb2

    message = saved_model_pb2.SavedModel()
    path = folder / _BINARY
    if path.is_file():
        message.ParseFromString(path.read_bytes())
    else:
        path = folder / _TEXT
        text_format.Parse(path.read_bytes(), message)
    if not message.meta_graphs:
        raise LoadFailed(f"{path} holds no graph: it is empty or cut short; copy it again")
    return message


def _made_callable(session: Any, feeds: list[str], fetches: list[str]) -> Any:
    from tensorflow.core.protobuf import config_pb2

    make = getattr(session, "_make_callable_from_options", None)
    if make is None:
        return session.make_callable(fetches, feed_list=feeds)
    # What `make_callable` gives looks at each feed anew, which takes three times as long.
    return make(config_pb2.CallableOptions(feed=feeds, fetch=fetches))


def _metadata(
    tf: Any, name: str, info: Any, is_input: bool = False, is_optional: bool = False
) -> TensorMetadata:
    """What a signature says of one tensor. Raises `TypeError` if it is no dense tensor."""
    encoding = info.WhichOneof("encoding")
    if encoding != "name":
        kind = "composite" if encoding == "composite_tensor" else "sparse"
        raise TypeError(f"'{name}' is a {kind} tensor (ragged or sparse), not a dense one")
    dtype = tf.dtypes.as_dtype(info.dtype).name
    datatype = _DATATYPES.get(dtype)
    if datatype is None:
        raise TypeError(f"'{name}' is {dtype}, which no request can carry")
    any_shape = bool(info.tensor_shape.unknown_rank)
    return TensorMetadata(
        name,
        datatype,
        () if any_shape else tuple(int(dim.size) for dim in info.tensor_shape.dim),
        any_shape=any_shape,
        accepts=accepted(datatype) if is_input else (),
        optional=is_optional,
    )


def _array(value: Any, bfloat16: Any) -> Array:
    if not isinstance(value, np.ndarray):
        value = np.asarray(value, dtype=object if isinstance(value, bytes) else None)
    array: Array = value
    return array.astype(np.float32) if array.dtype == bfloat16 else array


def _as_said(error: Exception) -> Exception:
    """The reason alone: the names of nodes after it are nothing to a caller."""
    text = str(getattr(error, "message", "") or error)
    lines = [line for line in text.split("\n") if line.strip() and "[[{{node" not in line]
    return ValueError(lines[0] if lines else text)
