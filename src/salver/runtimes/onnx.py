"""ONNX models on ONNX Runtime, by the execution providers that the settings name.

Owns the mapping of ONNX types to datatypes, and of the sequences of maps that scikit-learn
converters put out (ZipMap) to a tensor of probabilities.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from salver.errors import InvalidInput, LoadFailed, ModelFailed
from salver.inference.metadata import Datatype, ModelMetadata, TensorMetadata
from salver.inference.tensor import Array, InferRequest, InferResponse, Tensor, tensor_from_array
from salver.runtimes.loading import framework_module, load_failures
from salver.runtimes.onnx_files import check_external_data
from salver.runtimes.onnx_refusals import reworded
from salver.runtimes.onnx_settings import LEVELS, OnnxSettings, onnx_settings
from salver.runtimes.ports import ModelSource
from salver.runtimes.tabular import NUMERIC, decoded, named_outputs, refused_by

_DATATYPES: dict[str, Datatype] = {
    "tensor(bool)": "BOOL",
    "tensor(uint8)": "UINT8",
    "tensor(uint16)": "UINT16",
    "tensor(uint32)": "UINT32",
    "tensor(uint64)": "UINT64",
    "tensor(int8)": "INT8",
    "tensor(int16)": "INT16",
    "tensor(int32)": "INT32",
    "tensor(int64)": "INT64",
    "tensor(float16)": "FP16",
    "tensor(float)": "FP32",
    "tensor(double)": "FP64",
    "tensor(string)": "BYTES",
}
_NUMPY_OF: dict[Datatype, str] = {"FP16": "float16", "FP32": "float32", "FP64": "float64"}


class OnnxRuntime:
    """Loads graphs with the installed ONNX Runtime."""

    name = "onnx"
    framework = "onnxruntime"
    preload = ("onnxruntime",)

    def load(self, source: ModelSource) -> OnnxModel:
        settings = onnx_settings(source.name, source.parameters)
        onnxruntime = framework_module(source, "onnxruntime", "onnx")
        providers = settings.chosen(source.name, onnxruntime.get_available_providers())
        with load_failures(source, "ONNX Runtime"):
            check_external_data(source.path)
            session = _session(onnxruntime, source, settings, providers)
            _check_providers(source, providers, session.get_providers())
            return OnnxModel(onnxruntime, session)


def _session(
    onnxruntime: Any,
    source: ModelSource,
    settings: OnnxSettings,
    providers: list[tuple[str, dict[str, str]]],
) -> Any:
    try:
        return onnxruntime.InferenceSession(
            str(source.path),
            sess_options=_options(onnxruntime, settings, source.threads),
            providers=providers,
            # Else it would print what failed and go on with the CPU alone.
            enable_fallback=0,
        )
    except Exception as error:
        reason = reworded(str(error), onnxruntime.__version__)
        if reason is None:
            raise
        raise LoadFailed(f"model '{source.name}': {source.path}: {reason}") from error


def _check_providers(
    source: ModelSource, wanted: list[tuple[str, dict[str, str]]], found: list[str]
) -> None:
    """A provider whose libraries or device are absent is left out without an error."""
    missing = next((name for name, _ in wanted if name not in found), None)
    if missing is not None:
        raise LoadFailed(
            f"model '{source.name}': the provider {missing} could not be started here (its device "
            f"or its libraries are absent); {', '.join(found)} could: choose among these"
        )


def _options(onnxruntime: Any, settings: OnnxSettings, threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = settings.intra_op_threads or threads
    options.inter_op_num_threads = settings.inter_op_threads
    is_parallel = settings.inter_op_threads > 1
    modes = onnxruntime.ExecutionMode
    options.execution_mode = modes.ORT_PARALLEL if is_parallel else modes.ORT_SEQUENTIAL
    levels = onnxruntime.GraphOptimizationLevel
    level = getattr(levels, LEVELS[settings.graph_optimization_level], None)
    if level is None:
        raise LoadFailed(
            f"onnxruntime {onnxruntime.__version__} has no graph_optimization_level "
            f"'{settings.graph_optimization_level}'; use extended or all"
        )
    options.graph_optimization_level = level
    # Spinning threads would take the cores from the gateway and the other workers.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    options.log_severity_level = 3
    return options


class OnnxModel:
    """A session in memory."""

    def __init__(self, onnxruntime: Any, session: Any) -> None:
        self._session = session
        self._run = session.run
        self._inputs = tuple(_input(each) for each in session.get_inputs())
        self._is_map = {
            each.name: each.type.startswith("seq(map") for each in session.get_outputs()
        }
        self._outputs = tuple(_output(each) for each in session.get_outputs())
        self._defaults = tuple(each.name for each in self._outputs)
        self._datatypes = {each.name: each.datatype for each in self._inputs}
        state = onnxruntime.capi.onnxruntime_pybind11_state
        self._refusals = (state.InvalidArgument, ValueError, TypeError)
        self._metadata = ModelMetadata(
            platform="onnxruntime_onnx",
            inputs=self._inputs,
            outputs=self._outputs,
            default_outputs=self._defaults,
            positional_input=len(self._inputs) == 1,
            batchable=_is_batchable(session),
            framework_version=onnxruntime.__version__,
        )

    @property
    def metadata(self) -> ModelMetadata:
        return self._metadata

    def predict(self, request: InferRequest) -> InferResponse:
        wanted = request.outputs or self._defaults
        if request.outputs:
            named_outputs(request, self._defaults, self._defaults)
        try:
            answers = self._run(wanted, self._feed(request))
        except self._refusals as error:
            raise refused_by("ONNX Runtime", error) from error
        return InferResponse(
            tuple(self._tensor(*each) for each in zip(wanted, answers, strict=True))
        )

    def unload(self) -> None:
        """The session is freed with its last reference."""
        del self._run, self._session

    def _feed(self, request: InferRequest) -> dict[str, Array]:
        if len(self._inputs) == 1 and len(request.inputs) == 1:
            only = self._inputs[0]
            return {only.name: _fitted(request.inputs[0], only.datatype)}
        unknown = [each.name for each in request.inputs if each.name not in self._datatypes]
        if unknown:
            known = ", ".join(self._datatypes)
            raise InvalidInput(f"input '{unknown[0]}' is unknown; the model has {known}")
        return {each.name: _fitted(each, self._datatypes[each.name]) for each in request.inputs}

    def _tensor(self, name: str, answer: Any) -> Tensor:
        if self._is_map[name]:
            answer = np.array([list(row.values()) for row in answer], dtype=np.float32)
        if not isinstance(answer, np.ndarray):
            raise ModelFailed(
                f"output '{name}' is a {type(answer).__name__}, which no tensor can carry; "
                "ask for other outputs, or convert the model without it"
            )
        return tensor_from_array(name, answer)


def _fitted(tensor: Tensor, datatype: Datatype) -> Array:
    """The array in the type the graph declares; strings as `str`."""
    if datatype == "BYTES":
        return decoded(tensor.data)
    if tensor.datatype == datatype:
        return tensor.data
    return tensor.data.astype(_NUMPY_OF.get(datatype, tensor.data.dtype))


def _shape(node: Any) -> tuple[int, ...]:
    return tuple(size if isinstance(size, int) and size >= 0 else -1 for size in node.shape)


def _input(node: Any) -> TensorMetadata:
    datatype = _DATATYPES.get(node.type)
    if datatype is None:
        raise TypeError(f"input '{node.name}' has type {node.type}, which no datatype carries")
    accepts = tuple(each for each in NUMERIC if each != datatype) if datatype in _NUMPY_OF else ()
    return TensorMetadata(node.name, datatype, _shape(node), accepts=accepts)


def _output(node: Any) -> TensorMetadata:
    if node.type.startswith("seq(map"):
        return TensorMetadata(node.name, "FP32", (-1, -1))
    # A graph may leave out an output's shape: then ORT lists no dimensions for it.
    shape = _shape(node)
    return TensorMetadata(node.name, _DATATYPES.get(node.type, "BYTES"), shape, any_shape=not shape)


def _is_batchable(session: Any) -> bool:
    """Rows can be stacked only if every input and output has a free first dimension."""
    inputs, outputs = session.get_inputs(), session.get_outputs()
    for node in (*inputs, *outputs):
        if node.type.startswith("seq(map"):
            continue
        if not node.shape or (isinstance(node.shape[0], int) and node.shape[0] >= 0):
            return False
    symbols = {node.shape[0] for node in inputs if isinstance(node.shape[0], str)}
    return len(symbols) <= 1
