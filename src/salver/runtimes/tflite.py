"""TFLite models in LiteRT's interpreter: signatures, quantised tensors as they are, any batch.

Owns the reading of a model's tensors and their names, and whether it can take more rows than it was
converted for. Delegates beside the interpreter's own are not loaded: they are native code.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np

from salver.errors import InvalidInput, LoadFailed, ModelFailed
from salver.inference.metadata import SignatureMetadata, TensorMetadata
from salver.inference.tensor import NUMPY_TYPES, Array, datatype_of
from salver.runtimes.loading import framework_module, load_failures
from salver.runtimes.ports import LoadedModel, ModelSource
from salver.runtimes.tabular import refused_by
from salver.runtimes.tensorflow_probe import is_rowwise
from salver.runtimes.tensorflow_settings import SignedSettings, settings_of
from salver.runtimes.tensorflow_signatures import (
    DEFAULT_SIGNATURE,
    PREDICT,
    SignedModel,
    accepted,
    default_signature,
    described,
    named_refusals,
)

_HEAD_BYTES = 8
_IDENTIFIER = b"TFL3"
_MOST_LABEL_BYTES = 1 << 20
_TYPES = frozenset({"bool", "float16", "float32", "float64", "bytes_"}) | {
    f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)
}
_BREAKAGE = re.compile(r"out of memory|bad_alloc|allocate", re.IGNORECASE)


class TfliteRuntime:
    """Loads models with the installed LiteRT."""

    name = "tflite"
    framework = "ai-edge-litert"
    preload = ("ai_edge_litert.interpreter",)

    def load(self, source: ModelSource) -> LoadedModel:
        settings = settings_of(SignedSettings, self.name, source.name, source.parameters)
        litert = framework_module(source, "ai_edge_litert.interpreter", "tflite")
        _check_head(source)
        with named_refusals(source), load_failures(source, "LiteRT"):
            interpreter = litert.Interpreter(
                model_path=str(source.path), num_threads=source.threads
            )
            # An operator that it lacks is named here.
            interpreter.allocate_tensors()
            functions = _functions(interpreter)
            _check_variables(litert, source, interpreter)
            default = default_signature(list(functions), settings.signature)
            rowwise = [_learnt(each, source, settings.batchable) for each in functions.values()]
            metadata = described(
                functions,
                default,
                platform="tflite",
                version=_version(),
                batchable=all(rowwise),
                labels=settings.labels or _packed_labels(source, functions),
            )
            return SignedModel(functions, default, metadata)


def _check_head(source: ModelSource) -> None:
    with source.path.open("rb") as file:
        head = file.read(_HEAD_BYTES)
    if head[4:] != _IDENTIFIER:
        raise LoadFailed(
            f"model '{source.name}': {source.path} is no TFLite model (it lacks the mark TFL3); "
            "convert the model with tf.lite.TFLiteConverter"
        )


class LiteFunction:
    """One signature of an interpreter. `free_rows`: the first dimension of inputs may be any."""

    defaults: Mapping[str, Array] = {}

    def __init__(self, runner: Any, name: str, *, free_rows: bool) -> None:
        self._runner = runner
        self._inputs = tuple(runner.get_input_details().items())
        self._outputs = tuple(runner.get_output_details().items())
        self._set_free_rows(name, free_rows)

    def _set_free_rows(self, name: str, free_rows: bool) -> None:
        inputs = tuple(_metadata(key, each, free_rows, is_input=True) for key, each in self._inputs)
        outputs = tuple(
            _metadata(key, each, free_rows, is_input=False) for key, each in self._outputs
        )
        self.metadata = SignatureMetadata(name, PREDICT, inputs, outputs)
        self._names = [each.name for each in inputs]

    def with_free_rows(self, free_rows: bool) -> None:
        """Sets whether inputs may have any number of rows; as they were saved, if not."""
        self._set_free_rows(self.metadata.name, free_rows)

    def answer_blank(self) -> None:
        """Runs on one row of zeros, or of as many as it was saved for."""
        blank = [_blank(each) for each in self.metadata.inputs]
        self.run(blank, [each.name for each in self.metadata.outputs])

    @property
    def has_one_row(self) -> bool:
        """It was converted for one row at a time: it may take more all the same."""
        shapes = [each.shape for each in self.metadata.inputs]
        return bool(shapes) and all(shape[:1] == (1,) for shape in shapes)

    def run(self, arrays: Sequence[Array], outputs: Sequence[str]) -> Sequence[Array]:
        try:
            found = self._runner(**dict(zip(self._names, arrays, strict=True)))
        except (RuntimeError, ValueError, TypeError) as error:
            if _BREAKAGE.search(str(error)):
                raise MemoryError(str(error)) from error
            raise refused_by("LiteRT", error) from error
        try:
            return [_array(found[each]) for each in outputs]
        except KeyError as error:
            raise ModelFailed(f"LiteRT gave no output {error}") from error


class _Unsigned:
    """The interpreter's own tensors, in the guise of a signature's runner."""

    def __init__(self, interpreter: Any) -> None:
        self._interpreter = interpreter
        self._inputs = _by_name(interpreter.get_input_details())
        self._outputs = _by_name(interpreter.get_output_details())
        self._shapes: dict[str, tuple[int, ...]] = {}

    def get_input_details(self) -> dict[str, Any]:
        return self._inputs

    def get_output_details(self) -> dict[str, Any]:
        return self._outputs

    def __call__(self, **arrays: Array) -> dict[str, Array]:
        interpreter = self._interpreter
        shapes = {name: array.shape for name, array in arrays.items()}
        if shapes != self._shapes:
            self._shapes = {}
            for name, shape in shapes.items():
                interpreter.resize_tensor_input(self._inputs[name]["index"], shape)
            interpreter.allocate_tensors()
            self._shapes = shapes
        for name, array in arrays.items():
            interpreter.set_tensor(self._inputs[name]["index"], array)
        interpreter.invoke()
        return {
            name: interpreter.get_tensor(details["index"])
            for name, details in self._outputs.items()
        }


def _by_name(details: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """By the tensors' names, without what TensorFlow puts around those of a signature."""
    found: dict[str, Any] = {}
    for each in details:
        bare = re.sub(r"\A[a-z0-9]+_default_|:\d+\Z", "", each["name"])
        found[bare if bare and bare not in found else each["name"]] = each
    return found


def _check_variables(litert: Any, source: ModelSource, interpreter: Any) -> None:
    """Raises `LoadFailed` for a model with variables that have no values.

    The interpreter's delegate would calculate with whatever is in memory there; its plain
    operators, which are slow, notice.
    """
    if _is_one_graph(interpreter) and not _has_variables(interpreter):
        return
    plain = litert.Interpreter(
        model_path=str(source.path),
        num_threads=source.threads,
        experimental_op_resolver_type=litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    for function in _functions(plain).values():
        try:
            function.answer_blank()
        except InvalidInput as error:
            if "variable" in str(error):
                raise LoadFailed(
                    f"its signature '{function.metadata.name}' reads variables that have no "
                    "values; convert the trained model anew, e.g. with "
                    "tf.lite.TFLiteConverter.from_keras_model"
                ) from error


def _is_one_graph(interpreter: Any) -> bool:
    """Whether there is no other graph; false if this interpreter cannot tell, as before 1.1."""
    count = getattr(interpreter, "num_subgraphs", None)
    return count is not None and count() == 1


def _has_variables(interpreter: Any) -> bool:
    """Whether the only graph has any; true if this interpreter cannot tell."""
    operators = getattr(interpreter, "_get_ops_details", None)
    return operators is None or any(each["op_name"] == "VAR_HANDLE" for each in operators())


def _functions(interpreter: Any) -> dict[str, LiteFunction]:
    names = list(interpreter.get_signature_list())
    if not names:
        runner: Any = _Unsigned(interpreter)
        return {DEFAULT_SIGNATURE: LiteFunction(runner, DEFAULT_SIGNATURE, free_rows=False)}
    found = {}
    for name in sorted(names):
        runner = interpreter.get_signature_runner(name)
        found[name] = LiteFunction(runner, name, free_rows=False)
    return found


def _learnt(function: LiteFunction, source: ModelSource, said: bool | None) -> bool:
    """Whether rows may be predicted together, tried with made-up ones if nobody says so.

    A model that was converted for one row is tried with more: most can take them.
    """
    saved_for_one = function.has_one_row
    if saved_for_one and said is not False:
        function.with_free_rows(True)
    found = is_rowwise(function, source.name)
    learnt = source.batch_requested if found is None else found
    batchable = learnt if said is None else said
    if saved_for_one and not batchable:
        function.with_free_rows(False)
    # The last shape tried is what the interpreter keeps: one row, as most requests have.
    with suppress(InvalidInput):
        function.answer_blank()
    return batchable


def _blank(spec: TensorMetadata) -> Array:
    shape = tuple(max(size, 1) for size in spec.shape)
    blank: object = b"" if spec.datatype == "BYTES" else 0
    return np.full(shape, blank, dtype=NUMPY_TYPES[spec.datatype])


def _metadata(name: str, details: Any, free_rows: bool, *, is_input: bool) -> TensorMetadata:
    """What the interpreter says of a tensor. Raises `TypeError` for one that nothing can carry."""
    dtype = np.dtype(details["dtype"])
    if details["dtype"].__name__ not in _TYPES:
        raise TypeError(f"tensor '{name}' is {dtype}, which no request can carry")
    datatype = datatype_of(dtype)
    # Where nothing is free, LiteRT leaves the signature of the shape empty.
    shape = tuple(int(size) for size in details["shape_signature"])
    if len(shape) != len(details["shape"]):
        shape = tuple(int(size) for size in details["shape"])
    if free_rows and shape[:1] == (1,):
        shape = (-1, *shape[1:])
    return TensorMetadata(name, datatype, shape, accepts=accepted(datatype) if is_input else ())


def _array(value: Any) -> Array:
    array = np.asarray(value)
    return array.astype(object) if array.dtype.kind == "S" else array


def _packed_labels(source: ModelSource, functions: Mapping[str, LiteFunction]) -> tuple[str, ...]:
    """The labels that a model made for TFLite's task library has in a zip behind its end."""
    if not zipfile.is_zipfile(source.path):
        return ()
    with zipfile.ZipFile(source.path) as archive:
        names = [each for each in archive.infolist() if each.filename.endswith(".txt")]
        if len(names) != 1 or names[0].file_size > _MOST_LABEL_BYTES:
            return ()
        lines = archive.read(names[0]).decode(errors="replace").splitlines()
    labels = tuple(line.strip() for line in lines if line.strip())
    outputs = [output for each in functions.values() for output in each.metadata.outputs]
    return labels if any(each.shape[-1:] == (len(labels),) for each in outputs) else ()


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("ai-edge-litert")
    except PackageNotFoundError:
        return ""
