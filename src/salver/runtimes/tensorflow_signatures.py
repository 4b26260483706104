"""Models with signatures, as TensorFlow and TFLite have them: one function of named tensors each.

Owns which signature a request means, how its tensors are bound, and what datatypes are taken for
others. Imports neither framework.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Protocol

import msgspec
import numpy as np

from salver.errors import InvalidInput, LoadFailed
from salver.inference.metadata import Datatype, ModelMetadata, SignatureMetadata, TensorMetadata
from salver.inference.tensor import NUMPY_TYPES, Array, InferRequest, InferResponse, Tensor
from salver.runtimes.ports import ModelSource
from salver.runtimes.tabular import NUMERIC

DEFAULT_SIGNATURE = "serving_default"
SIGNATURE_PARAMETER = "signature_name"
PREDICT = "tensorflow/serving/predict"
EXAMPLE_METHODS = ("tensorflow/serving/classify", "tensorflow/serving/regress")
_FLOATS = frozenset({"FP64", "FP32", "FP16", "BF16"})
_INTEGERS: tuple[Datatype, ...] = tuple(each for each in NUMERIC if "INT" in each)


class SignedFunction(Protocol):
    """One signature in memory. `defaults` has the values of inputs that may be left out."""

    @property
    def metadata(self) -> SignatureMetadata: ...

    @property
    def defaults(self) -> Mapping[str, Array]: ...

    def run(self, arrays: Sequence[Array], outputs: Sequence[str]) -> Sequence[Array]:
        """The named outputs, in that order, for all inputs, in the order of the metadata.

        Arrays have the dtypes of `NUMPY_TYPES`. Raises `InvalidInput` if the function refuses
        the values, `ModelFailed` if it breaks, `MemoryError` if it lacks memory.
        """


class SignedModel:
    """Signatures in memory, one of which is the default."""

    def __init__(
        self, functions: Mapping[str, SignedFunction], default: str, metadata: ModelMetadata
    ) -> None:
        self._functions = dict(functions)
        self._default = self._functions[default]
        self._metadata = metadata

    @property
    def metadata(self) -> ModelMetadata:
        return self._metadata

    def predict(self, request: InferRequest) -> InferResponse:
        function = self._chosen(request)
        metadata = function.metadata
        specs = metadata.inputs
        if len(specs) == len(request.inputs) == 1:
            arrays = [fitted(request.inputs[0], specs[0].datatype)]
        else:
            arrays = _bound(request.inputs, specs, function.defaults)
        wanted = metadata.outputs
        if request.outputs:
            by_name = {each.name: each for each in wanted}
            unknown = next((each for each in request.outputs if each not in by_name), None)
            if unknown is not None:
                known = ", ".join(f"'{each}'" for each in by_name)
                raise InvalidInput(f"output '{unknown}' is unknown; the model has {known}")
            wanted = tuple(by_name[each] for each in request.outputs)
        answers = function.run(arrays, [each.name for each in wanted])
        return InferResponse(
            tuple(
                [
                    Tensor(spec.name, spec.datatype, answer)
                    for spec, answer in zip(wanted, answers, strict=True)
                ]
            )
        )

    def unload(self) -> None:
        """The functions free what they hold with their last reference."""
        self._functions.clear()
        del self._default

    def _chosen(self, request: InferRequest) -> SignedFunction:
        name = request.parameters.get(SIGNATURE_PARAMETER) if request.parameters else None
        if name is None:
            return self._default
        found = self._functions.get(str(name))
        if found is None:
            known = ", ".join(self._functions)
            raise InvalidInput(f"signature '{str(name)[:64]}' is unknown; the model has {known}")
        return found


def described(
    functions: Mapping[str, SignedFunction],
    default: str,
    *,
    platform: str,
    version: str,
    batchable: bool,
    labels: Sequence[str],
) -> ModelMetadata:
    """The metadata of a model with these signatures."""
    signatures = tuple(_labelled(each.metadata, labels) for each in functions.values())
    main = next(each for each in signatures if each.name == default)
    outputs = [output for each in signatures for output in each.outputs]
    if labels and not any(each.labels for each in outputs):
        shapes = ", ".join(f"{each.name} {list(each.shape)}" for each in main.outputs)
        raise LoadFailed(f"there are {len(labels)} labels, but no output has so many ({shapes})")
    return ModelMetadata(
        platform=platform,
        inputs=main.inputs,
        outputs=main.outputs,
        default_outputs=tuple(each.name for each in main.outputs),
        positional_input=True,
        batchable=batchable,
        framework_version=version,
        signatures=signatures,
    )


def _labelled(signature: SignatureMetadata, labels: Sequence[str]) -> SignatureMetadata:
    outputs = tuple(
        msgspec.structs.replace(each, labels=tuple(labels))
        if labels and each.shape[-1:] == (len(labels),)
        else each
        for each in signature.outputs
    )
    return msgspec.structs.replace(signature, outputs=outputs)


@contextmanager
def named_refusals(source: ModelSource) -> Iterator[None]:
    """Puts the model's name before what a reader of its files refuses without knowing it."""
    try:
        yield
    except LoadFailed as error:
        if str(error).startswith("model '"):
            raise
        raise LoadFailed(f"model '{source.name}' ({source.path.name}): {error}") from error


def default_signature(names: Sequence[str], wanted: str) -> str:
    """The signature for requests that name none. Raises `LoadFailed` if `wanted` is not there."""
    if wanted and wanted not in names:
        raise LoadFailed(f"there is no signature '{wanted}'; name one of {', '.join(names)}")
    return wanted or (DEFAULT_SIGNATURE if DEFAULT_SIGNATURE in names else names[0])


def accepted(datatype: Datatype) -> tuple[Datatype, ...]:
    """What else can be given where that is wanted, without changing what is meant."""
    if datatype in _FLOATS:
        return tuple(each for each in NUMERIC if each != datatype)
    if datatype in _INTEGERS:
        return tuple(each for each in _INTEGERS if each != datatype)
    return ()


def fitted(tensor: Tensor, datatype: Datatype) -> Array:
    """The values in that datatype. Raises `InvalidInput` for an integer that has no room in it."""
    wanted = NUMPY_TYPES[datatype]
    array = tensor.data
    if array.dtype == wanted:
        return array
    if wanted.kind in "iu" and array.size and not np.can_cast(array.dtype, wanted):
        limits = np.iinfo(wanted)
        least, most = int(array.min()), int(array.max())
        if least < limits.min or most > limits.max:
            odd = least if least < limits.min else most
            raise InvalidInput(
                f"input '{tensor.name}' has the value {odd}, the model takes {datatype}: send "
                f"values from {limits.min} to {limits.max}"
            )
    with np.errstate(over="ignore"):
        return array.astype(wanted)


def _bound(
    tensors: Sequence[Tensor], specs: Sequence[TensorMetadata], defaults: Mapping[str, Array]
) -> list[Array]:
    given = {tensor.name: tensor for tensor in tensors}
    known = {each.name for each in specs}
    missing = [each for each in known if each not in given and each not in defaults]
    unknown = next((name for name in given if name not in known), None)
    if unknown is not None or missing:
        name, fact = (unknown, "unknown") if unknown is not None else (missing[0], "missing")
        listed = ", ".join(each.name for each in specs)
        raise InvalidInput(f"input '{name}' is {fact}; the model takes {listed}")
    return [
        fitted(given[each.name], each.datatype) if each.name in given else defaults[each.name]
        for each in specs
    ]
