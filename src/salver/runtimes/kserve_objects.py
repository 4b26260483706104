"""The KServe SDK's `InferRequest` and `InferResponse`, for classes that are written for it.

Imports `kserve` inside functions only: it is there if the user's file has imported it.
"""

from __future__ import annotations

import typing
from typing import Any

from salver.errors import ModelFailed
from salver.inference.tensor import Tensor, datatype_of, tensor_from_array
from salver.runtimes.ports import StepPayload

_PACKAGE = "kserve"


def is_kserve(thing: Any) -> bool:
    """A class or function of the SDK itself."""
    module = getattr(thing, "__module__", "") or ""
    return module == _PACKAGE or module.startswith(_PACKAGE + ".")


def is_kserve_model(instance: Any) -> bool:
    """An instance of a class that derives from one of the SDK's."""
    return any(is_kserve(each) for each in type(instance).__mro__)


def names_kserve(hint: Any) -> bool:
    """The hint is, or offers among others, a class of the SDK."""
    if isinstance(hint, str):
        return "InferRequest" in hint or "InferResponse" in hint
    return is_kserve(hint) or any(names_kserve(each) for each in typing.get_args(hint))


def tell_predictor(instance: Any, address: str, *, is_tls: bool) -> None:
    """Tells an instance of an SDK class where its predictor is, as the SDK's server would."""
    try:
        from kserve import context
        from kserve.predictor_config import PredictorConfig
    except ImportError:
        # Before it had a context, the SDK read the address from the model.
        instance.predictor_host = address
    else:
        context.set_predictor_config(PredictorConfig(address, predictor_use_ssl=is_tls))


def kserve_object(payload: StepPayload, name: str) -> Any:
    """The V2 message as the SDK's object."""
    import kserve

    if payload.is_request:
        inputs = []
        for tensor in payload.tensors():
            entry = kserve.InferInput(tensor.name, list(tensor.data.shape), tensor.datatype)
            entry.set_data_from_numpy(tensor.data, binary_data=False)
            if tensor.parameters:
                entry.parameters = dict(tensor.parameters)
            inputs.append(entry)
        return kserve.InferRequest(
            model_name=name,
            infer_inputs=inputs,
            request_id=payload.id or None,
            parameters=dict(payload.parameters),
        )
    outputs = []
    for tensor in payload.tensors():
        output = kserve.InferOutput(tensor.name, list(tensor.data.shape), tensor.datatype)
        output.set_data_from_numpy(tensor.data, binary_data=False)
        outputs.append(output)
    return kserve.InferResponse(payload.id, name, outputs, parameters=dict(payload.parameters))


def tensors_of_object(answer: Any) -> tuple[Tensor, ...] | None:
    """The tensors of the SDK's request or response; None for anything else."""
    if not is_kserve(type(answer)):
        return None
    entries = getattr(answer, "inputs", None)
    if entries is None:
        entries = getattr(answer, "outputs", None)
    if entries is None:
        raise ModelFailed(f"it returned kserve's {type(answer).__name__}, which has no tensors")
    return tuple(_tensor(entry) for entry in entries)


def _tensor(entry: Any) -> Tensor:
    array = entry.as_numpy().reshape(entry.shape)
    tensor = tensor_from_array(entry.name, array)
    if entry.datatype == "BF16" or datatype_of(array.dtype) == "BYTES":
        return Tensor(entry.name, entry.datatype, tensor.data)
    return tensor
