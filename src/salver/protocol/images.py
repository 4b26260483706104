"""Images in requests: bytes of a JPEG, PNG or the like, for an input that takes pixels.

Such an input is declared with the content type `image`, the datatype UINT8 and a shape that ends
in height, width and channels (1, 3 or 4; -1 is 3), or has no channels: then it is grey. Bytes sent
for it, over any protocol, are decoded with Pillow; pixels may be sent as well. Orientation tags are
not heeded. Owns no wire format: it goes around a codec.
"""

from __future__ import annotations

import base64
import binascii
import io
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np

from salver.errors import InvalidInput, Unsupported
from salver.inference.metadata import ModelMetadata, TensorMetadata
from salver.inference.tensor import Array, InferResponse
from salver.protocol.elements import array_of_raw, flattened
from salver.protocol.wire import EncodedResponse, ModelIdentity, WireCodec, WireRequest, WireTensor

IMAGE = "image"
MOST_PIXELS = 1 << 26
"""An image of more pixels is refused: small files can hold enormous ones."""
_MODES = {1: "L", 3: "RGB", 4: "RGBA", -1: "RGB"}
_FORMATS = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM")


def image_inputs(metadata: ModelMetadata) -> tuple[TensorMetadata, ...]:
    """The inputs that take images."""
    return tuple(
        each
        for each in metadata.inputs
        if each.content_type == IMAGE and each.datatype == "UINT8" and len(each.shape) >= 2
    )


class ImageCodec:
    """A `WireCodec` around another, for one model that takes images."""

    def __init__(
        self, codec: WireCodec, inputs: Sequence[TensorMetadata], model: ModelIdentity
    ) -> None:
        self._codec = codec
        self._inputs = {each.name: each for each in inputs}
        self._as_bytes = _taking_bytes(self._inputs, model)

    def decode(self, body: bytes | memoryview, aux: int, model: ModelIdentity) -> WireRequest:
        request = self._codec.decode(body, aux, self._as_bytes)
        for index, tensor in enumerate(request.inputs):
            spec = self._inputs.get(tensor.name)
            if spec is None and model.metadata.positional_input and len(request.inputs) == 1:
                spec = next(iter(self._inputs.values()))
            if spec is not None and tensor.datatype == "BYTES":
                request.inputs[index] = _decoded(tensor, spec, model)
        return request

    def encode(
        self, response: InferResponse, request: WireRequest, model: ModelIdentity
    ) -> EncodedResponse:
        return self._codec.encode(response, request, model)

    def encode_rows(
        self,
        response: InferResponse,
        requests: list[WireRequest],
        rows: list[int],
        model: ModelIdentity,
    ) -> list[EncodedResponse]:
        return self._codec.encode_rows(response, requests, rows, model)


def _taking_bytes(inputs: Mapping[str, TensorMetadata], model: ModelIdentity) -> ModelIdentity:
    """The model as a codec is to see it: one that takes the bytes of images as well."""
    seen = tuple(
        TensorMetadata(each.name, "UINT8", (), any_shape=True, accepts=("BYTES",))
        if each.name in inputs
        else each
        for each in model.metadata.inputs
    )
    metadata = msgspec.structs.replace(model.metadata, inputs=seen)
    return ModelIdentity(model.name, model.version, metadata)


def _decoded(tensor: WireTensor, spec: TensorMetadata, model: ModelIdentity) -> WireTensor:
    subject = f"input {tensor.name[:64]!r} of model {model.name!r}"
    files = _files(tensor, subject)
    channels = _MODES.get(spec.shape[-1]) if len(spec.shape) > 2 else None
    has_channels, mode = channels is not None, channels or "L"
    pixels = [_pixels(each, mode, subject) for each in files]
    if has_channels:
        pixels = [each.reshape(*each.shape[:2], -1) for each in pixels]
    if len(pixels) == 1 and pixels[0].ndim == len(spec.shape):
        stacked = pixels[0]
    else:
        sizes = {each.shape for each in pixels}
        if len(sizes) != 1:
            raise InvalidInput(
                f"{subject} got {len(files)} images of {len(sizes)} different sizes: send equally "
                "large ones together, or each in a request of its own"
            )
        stacked = np.stack(pixels)
    return WireTensor(tensor.name, stacked.shape, "UINT8", stacked.tobytes())


def _files(tensor: WireTensor, subject: str) -> list[bytes]:
    """The elements of the tensor as bytes; a string of JSON is base64, being no image itself."""
    is_base64 = (tensor.parameters or {}).get("content_type") == "base64"
    return [
        each if isinstance(each, bytes) and not is_base64 else _of_base64(each, subject)
        for each in _elements(tensor, subject)
    ]


def _elements(tensor: WireTensor, subject: str) -> list[Any]:
    data: Any = tensor.data
    if isinstance(data, bytes | memoryview):
        return list(array_of_raw([data], "BYTES", subject).tolist())
    if not isinstance(data, list):
        raise InvalidInput(f"{subject} has no data: send the bytes of an image")
    return flattened(data, tensor.shape, subject)


def _of_base64(text: Any, subject: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (TypeError, ValueError, binascii.Error) as error:
        raise InvalidInput(
            f"{subject} takes an image: send its bytes, in JSON as base64 text"
        ) from error


def _pixels(file: bytes, mode: str, subject: str) -> Array:
    try:
        from PIL import Image
    except ImportError as error:
        raise Unsupported(
            f"{subject} takes images, and Pillow, which reads them, is not installed: "
            'pip install "salver[images]", or send the pixels as UINT8'
        ) from error
    try:
        with Image.open(io.BytesIO(file), formats=_FORMATS) as image:
            width, height = image.size
            if width * height > MOST_PIXELS:
                raise InvalidInput(
                    f"{subject} got an image of {width} x {height} pixels, over the limit of "
                    f"{MOST_PIXELS}: send a smaller one"
                )
            return np.asarray(image.convert(mode))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise InvalidInput(
            f"{subject} got {len(file)} bytes that are no image which can be read: "
            f"{str(error)[:200]}; send a PNG, JPEG or other common format"
        ) from error
