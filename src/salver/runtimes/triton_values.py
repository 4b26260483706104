"""What a Triton Python model handles: tensors, requests, responses, errors.

Names and behaviour are those of Triton's `triton_python_backend_utils`; `triton_stand_in.py` offers
them under that name. Refuses to know a server: `InferenceRequest.exec` asks whoever it is given.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from salver.inference.tensor import Array, datatype_of

RESPONSE_COMPLETE_FINAL = 1
SEQUENCE_START = 1
SEQUENCE_END = 2


class TritonModelException(Exception):
    """What goes wrong between a model and its server."""


class TritonError:
    """Why a request has no answer, with one of Triton's codes."""

    UNKNOWN, INTERNAL, NOT_FOUND, INVALID_ARG = 0, 1, 2, 3
    UNAVAILABLE, UNSUPPORTED, ALREADY_EXISTS, CANCELLED = 4, 5, 6, 7

    def __init__(self, message: str, code: int = INTERNAL) -> None:
        self._message, self._code = str(message), code

    def message(self) -> str:
        return self._message

    def code(self) -> int:
        return self._code

    def __str__(self) -> str:
        return self._message


class PreferredMemory:
    """Where answers should lie: always in this machine's memory here."""

    def __init__(
        self, preferred_memory_type: int = 0, preferred_memory_device_id: int = 0
    ) -> None: ...


class Tensor:
    """A name and an array; texts are object arrays of `bytes`."""

    def __init__(self, name: str, numpy_array: Any) -> None:
        if not isinstance(name, str):
            raise TritonModelException(f"a tensor's name must be a str, not {type(name).__name__}")
        if not isinstance(numpy_array, np.ndarray):
            raise TritonModelException(
                f"tensor '{name}' needs a numpy.ndarray, not a {type(numpy_array).__name__}"
            )
        self._name, self._array = name, numpy_array

    def name(self) -> str:
        return self._name

    def as_numpy(self) -> Array:
        return self._array

    def shape(self) -> list[int]:
        return list(self._array.shape)

    def triton_dtype(self) -> str:
        name = datatype_of(self._array.dtype)
        return "TYPE_STRING" if name == "BYTES" else f"TYPE_{name}"

    def is_cpu(self) -> bool:
        return True

    def to_dlpack(self) -> Any:
        return self._array.__dlpack__()

    def __dlpack__(self, **arguments: Any) -> Any:
        return self._array.__dlpack__(**arguments)

    def __dlpack_device__(self) -> Any:
        return self._array.__dlpack_device__()

    @staticmethod
    def from_dlpack(name: str, tensor: Any) -> Tensor:
        return Tensor(name, np.from_dlpack(_Capsule(tensor)))


class _Capsule:
    """A bare DLPack capsule as NumPy takes it; anything else as it is."""

    def __init__(self, tensor: Any) -> None:
        self._tensor = tensor

    def __dlpack__(self, **arguments: Any) -> Any:
        if hasattr(self._tensor, "__dlpack__"):
            return self._tensor.__dlpack__(**arguments)
        return self._tensor

    def __dlpack_device__(self) -> Any:
        if hasattr(self._tensor, "__dlpack_device__"):
            return self._tensor.__dlpack_device__()
        return 1, 0


class InferenceResponse:
    """Outputs, or an error in their place."""

    def __init__(
        self,
        output_tensors: Sequence[Tensor] = (),
        error: TritonError | None = None,
        parameters: Any = None,
    ) -> None:
        if error is not None and not isinstance(error, TritonError):
            raise TritonModelException("error must be a TritonError")
        self._tensors = list(output_tensors)
        self._error = error
        self._parameters = json.dumps(parameters or {})

    def output_tensors(self) -> list[Tensor]:
        return self._tensors

    def has_error(self) -> bool:
        return self._error is not None

    def error(self) -> TritonError | None:
        return self._error

    def set_error(self, error: TritonError | None) -> None:
        self._error = error

    def parameters(self) -> str:
        """The parameters as JSON, as Triton gives them."""
        return self._parameters


class ResponseSender:
    """Takes the responses of a decoupled model to one request, from any thread."""

    def __init__(self, take: Callable[[InferenceResponse | None], object]) -> None:
        """`take` gets each response, and None once no more come."""
        self._take = take
        self._is_closed = False

    def send(self, response: InferenceResponse | None = None, flags: int = 0) -> None:
        if self._is_closed:
            raise TritonModelException("the final response has been sent: no more can follow")
        if response is None and not flags & RESPONSE_COMPLETE_FINAL:
            raise TritonModelException("send needs a response, or the flag of the final one")
        if response is not None:
            self._take(response)
        if flags & RESPONSE_COMPLETE_FINAL:
            self._is_closed = True
            self._take(None)

    def is_cancelled(self) -> bool:
        return False


class Asks(Protocol):
    """Whoever can ask a model of the server."""

    def __call__(self, request: InferenceRequest) -> InferenceResponse: ...


class InferenceRequest:
    """A request, to this model or, made by it, to another model of the server."""

    asks: Asks | None = None
    """How `exec` reaches the server; None: not at all."""

    def __init__(
        self,
        model_name: str = "",
        requested_output_names: Sequence[str] = (),
        inputs: Sequence[Tensor] = (),
        request_id: str = "",
        correlation_id: int | str = 0,
        model_version: int = -1,
        flags: int = 0,
        timeout: int = 0,
        preferred_memory: PreferredMemory | None = None,
        trace: Any = None,
        parameters: Mapping[str, Any] | None = None,
    ) -> None:
        self._model_name, self._model_version = model_name, model_version
        self._outputs, self._inputs = list(requested_output_names), list(inputs)
        self._id, self._correlation_id = request_id, correlation_id
        self._flags, self._timeout = flags, timeout
        self._parameters = dict(parameters or {})
        self.sender: ResponseSender | None = None

    def inputs(self) -> list[Tensor]:
        return self._inputs

    def request_id(self) -> str:
        return self._id

    def correlation_id(self) -> int | str:
        return self._correlation_id

    def requested_output_names(self) -> list[str]:
        return self._outputs

    def model_name(self) -> str:
        return self._model_name

    def model_version(self) -> int:
        return self._model_version

    def flags(self) -> int:
        return self._flags

    def set_flags(self, flags: int) -> None:
        self._flags = flags

    def timeout(self) -> int:
        """In microseconds, as the caller has named it; 0: not at all."""
        return self._timeout

    def parameters(self) -> str:
        """The parameters as JSON, as Triton gives them."""
        return json.dumps(self._parameters)

    def trace(self) -> None:
        return None

    def is_cancelled(self) -> bool:
        return False

    def get_response_sender(self) -> ResponseSender:
        if self.sender is None:
            raise TritonModelException(
                "'get_response_sender' function must be called only when the model is using the "
                "decoupled transaction policy."
            )
        return self.sender

    def exec(self, decoupled: bool = False) -> InferenceResponse:
        """Asks the model; what goes wrong there is in the response."""
        if decoupled:
            raise TritonModelException(
                "exec cannot ask a decoupled model here: it gives many answers"
            )
        if self.asks is None or not self._model_name:
            raise TritonModelException("exec needs a model_name, and a server that can be asked")
        return self.asks(self)

    async def async_exec(self, decoupled: bool = False) -> InferenceResponse:
        return await asyncio.to_thread(self.exec, decoupled)
