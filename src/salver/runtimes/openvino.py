"""OpenVINO models: its own format (.xml and .bin), and ONNX, TFLite and SavedModel where asked.

Owns the device, the performance hint and the threads; answers are calculated in float32 unless
the settings allow less.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from salver.errors import LoadFailed
from salver.inference.metadata import Datatype, ModelMetadata, TensorMetadata
from salver.inference.tensor import (
    NUMPY_TYPES,
    Array,
    InferRequest,
    InferResponse,
    Tensor,
    tensor_from_array,
)
from salver.runtimes.loading import framework_module, load_failures
from salver.runtimes.onnx_files import check_external_data
from salver.runtimes.openvino_settings import compile_config, openvino_settings
from salver.runtimes.ports import LoadedModel, ModelSource
from salver.runtimes.tabular import NUMERIC, decoded, named_outputs, refused_by

_DATATYPES: Mapping[str, Datatype] = {
    "boolean": "BOOL",
    "u8": "UINT8",
    "u16": "UINT16",
    "u32": "UINT32",
    "u64": "UINT64",
    "i8": "INT8",
    "i16": "INT16",
    "i32": "INT32",
    "i64": "INT64",
    "f16": "FP16",
    "f32": "FP32",
    "f64": "FP64",
    "string": "BYTES",
}
_TFLITE = b"TFL3"
_FLOATS = ("FP16", "FP32", "FP64")


class OpenvinoRuntime:
    """Loads models with the installed OpenVINO."""

    name = "openvino"
    framework = "openvino"
    preload = ("openvino",)

    def load(self, source: ModelSource) -> LoadedModel:
        settings = openvino_settings(source.name, source.parameters)
        openvino = framework_module(source, "openvino", "openvino")
        path = _model_in(source)
        with load_failures(source, f"OpenVINO {openvino.__version__}"):
            _check_content(path)
            core = openvino.Core()
            _check_device(source, settings.device, core.available_devices)
            config = compile_config(settings, source.threads)
            compiled = core.compile_model(core.read_model(path), settings.device, config)
            return OpenvinoModel(compiled, openvino.__version__)


def _model_in(source: ModelSource) -> Path:
    """The file itself, the one .xml of a folder, or a folder that is a SavedModel."""
    path = source.path
    if path.is_dir() and not (path / "saved_model.pb").is_file():
        found = sorted(path.glob("*.xml"))
        if len(found) != 1:
            raise LoadFailed(
                f"model '{source.name}': {path} holds {len(found)} .xml files, where one is "
                "needed; name the file itself"
            )
        path = found[0]
    if path.suffix == ".xml" and not path.with_suffix(".bin").is_file():
        raise LoadFailed(
            f"model '{source.name}': {path.name} lacks its weights; put "
            f"{path.with_suffix('.bin').name} beside it"
        )
    return path


def _check_content(path: Path) -> None:
    """Raises `ValueError` for a file that is another than its name says, or reaches for others.

    OpenVINO takes what the content is: weights outside of the folder may be hidden in any file.
    """
    if path.is_dir():
        return
    with path.open("rb") as file:
        head = file.read(64)
    is_xml = head.removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"<")
    if path.suffix == ".xml" and not is_xml:
        raise ValueError("it is no XML; save it again with openvino.save_model")
    if not is_xml and head[4:8] != _TFLITE:
        check_external_data(path)


def _check_device(source: ModelSource, device: str, available: list[str]) -> None:
    wanted = device.partition(":")[2] or device
    for each in wanted.split(","):
        name = each.partition(".")[0]
        if name not in ("AUTO", "HETERO", "MULTI") and name not in {
            known.partition(".")[0] for known in available
        }:
            raise LoadFailed(
                f"model '{source.name}': OpenVINO has no device {each} here; choose from "
                + ", ".join(["AUTO", *available])
            )


class OpenvinoModel:
    """A compiled model in memory."""

    def __init__(self, compiled: Any, version: str) -> None:
        self._request = compiled.create_infer_request()
        self._inputs = tuple(
            _described(port, f"input-{place}") for place, port in enumerate(compiled.inputs)
        )
        self._outputs = tuple(
            _described(port, f"output-{place}") for place, port in enumerate(compiled.outputs)
        )
        self._places = {each.name: place for place, each in enumerate(self._outputs)}
        self._metadata = ModelMetadata(
            platform="openvino",
            inputs=tuple(_accepting(each) for each in self._inputs),
            outputs=self._outputs,
            default_outputs=tuple(self._places),
            positional_input=len(self._inputs) == 1,
            batchable=all(
                each.shape and each.shape[0] == -1 for each in (*self._inputs, *self._outputs)
            ),
            framework_version=version,
        )

    @property
    def metadata(self) -> ModelMetadata:
        return self._metadata

    def predict(self, request: InferRequest) -> InferResponse:
        wanted = named_outputs(request, self._metadata.default_outputs, self._places)
        given = {each.name: each for each in request.inputs}
        if len(self._inputs) == 1 and len(given) == 1:
            given = {self._inputs[0].name: request.inputs[0]}
        try:
            answer = self._request.infer(
                {
                    place: _fitted(given[each.name], each.datatype)
                    for place, each in enumerate(self._inputs)
                    if each.name in given
                }
            )
        except (RuntimeError, ValueError, TypeError) as error:
            raise refused_by("OpenVINO", error) from error
        return InferResponse(
            tuple(tensor_from_array(name, answer[self._places[name]]) for name in wanted)
        )

    def unload(self) -> None:
        """The model is freed with its last reference."""
        del self._request


def _described(port: Any, name: str) -> TensorMetadata:
    kind = port.element_type.get_type_name()
    names = sorted(port.names)
    name = port.any_name if names else name
    datatype = _DATATYPES.get(kind)
    if datatype is None:
        raise TypeError(f"'{name}' has type {kind}, which no datatype carries")
    if port.partial_shape.rank.is_dynamic:
        return TensorMetadata(name, datatype, (), any_shape=True)
    sizes = (-1 if each.is_dynamic else each.get_length() for each in port.partial_shape)
    return TensorMetadata(name, datatype, tuple(sizes))


def _accepting(tensor: TensorMetadata) -> TensorMetadata:
    if tensor.datatype not in _FLOATS:
        return tensor
    others = tuple(each for each in NUMERIC if each != tensor.datatype)
    return TensorMetadata(
        tensor.name, tensor.datatype, tensor.shape, any_shape=tensor.any_shape, accepts=others
    )


def _fitted(tensor: Tensor, datatype: Datatype) -> Array:
    if datatype == "BYTES":
        return decoded(tensor.data).astype(np.str_)
    # It reads memory as it lies, whatever an array says of its type and order.
    return np.ascontiguousarray(tensor.data, dtype=NUMPY_TYPES[datatype])
