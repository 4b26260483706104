"""Images as inputs, over each protocol that can carry their bytes."""

from __future__ import annotations

import base64
import io
import json
from typing import Any

import numpy as np
import pytest
from PIL import Image

from salver.errors import InvalidInput
from salver.inference.metadata import ModelMetadata, TensorMetadata
from salver.inference.tensor import Array
from salver.protocol import images
from salver.protocol.codecs import codec_for
from salver.protocol.images import ImageCodec, image_inputs
from salver.protocol.inference_pb2 import ModelInferRequest
from salver.protocol.materialise import assemble, group_key
from salver.protocol.wire import Codec, ModelIdentity

PIXELS = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3) * 10


def identity(*shape: int) -> ModelIdentity:
    spec = TensorMetadata("image", "UINT8", shape, content_type="image")
    return ModelIdentity("m", "1", ModelMetadata("test", (spec,), (), batchable=False))


HWC = identity(-1, -1, 3)


def file_of(pixels: Array, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)
    return file.getvalue()


PNG = file_of(PIXELS)


def read(codec: Codec, body: bytes, model: ModelIdentity = HWC) -> Array:
    around = ImageCodec(codec_for(codec), image_inputs(model.metadata), model)
    request = around.decode(body, 0, model)
    group_key(request, model)
    (tensor,) = assemble([request], model)[0].inputs
    assert tensor.datatype == "UINT8"
    return tensor.data


def v2(data: Any, shape: tuple[int, ...], datatype: str, **extra: Any) -> bytes:
    tensor = {"name": "image", "shape": shape, "datatype": datatype, "data": data, **extra}
    return json.dumps({"inputs": [tensor]}).encode()


def grpc_body() -> bytes:
    message = ModelInferRequest()
    tensor = message.inputs.add(name="image", datatype="BYTES", shape=[1])
    tensor.contents.bytes_contents.append(PNG)
    return message.SerializeToString()


TEXT = base64.b64encode(PNG).decode()


@pytest.mark.parametrize(
    ("codec", "body"),
    [
        (
            Codec.V2_FORM,
            b'--x\r\nContent-Disposition: form-data; name="image"; filename="a.png"'
            b"\r\n\r\n" + PNG + b"\r\n--x--",
        ),
        (Codec.V2_JSON, v2([TEXT], (1,), "BYTES")),
        (Codec.V2_JSON, v2([TEXT], (1,), "BYTES", parameters={"content_type": "base64"})),
        (Codec.V2_JSON, v2(PIXELS.tolist(), PIXELS.shape, "UINT8")),
        (Codec.V1_JSON, json.dumps({"instances": [{"b64": TEXT}]}).encode()),
        (Codec.V1_JSON, json.dumps({"instances": [{"image": {"b64": TEXT}}]}).encode()),
        (Codec.GENERATE_JSON, json.dumps({"image": TEXT}).encode()),
        (Codec.V2_GRPC, grpc_body()),
    ],
    ids=lambda each: each.name if isinstance(each, Codec) else None,
)
def test_the_bytes_of_an_image_become_its_pixels(codec: Codec, body: bytes) -> None:
    assert np.array_equal(read(codec, body), PIXELS)


def form_of(*files: bytes) -> bytes:
    part = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
    return b"".join(part + file + b"\r\n" for file in files) + b"--x--"


def test_what_the_shape_says_of_channels_is_done() -> None:
    assert read(Codec.V2_FORM, form_of(PNG), identity(-1, -1)).shape == (2, 3)
    assert read(Codec.V2_FORM, form_of(PNG), identity(-1, -1, 4)).shape == (2, 3, 4)
    assert read(Codec.V2_FORM, form_of(PNG), identity(-1, -1, 1)).shape == (2, 3, 1)
    assert read(Codec.V2_FORM, form_of(PNG), identity(-1, -1, -1)).shape == (2, 3, 3)


def test_images_of_one_size_are_stacked_where_there_is_an_axis_for_them() -> None:
    stacked = read(Codec.V2_FORM, form_of(PNG, PNG), identity(-1, -1, -1, 3))
    assert np.array_equal(stacked, np.stack([PIXELS, PIXELS]))
    assert read(Codec.V2_FORM, form_of(PNG), identity(-1, -1, -1, 3)).shape == (1, 2, 3, 3)
    other = file_of(PIXELS[:1])
    with pytest.raises(InvalidInput, match="2 images of 2 different sizes"):
        read(Codec.V2_FORM, form_of(PNG, other), identity(-1, -1, -1, 3))


def test_an_image_of_another_size_than_the_model_takes_is_refused() -> None:
    with pytest.raises(InvalidInput, match=r"has shape \[2,\s?3,\s?3\], the model takes"):
        read(Codec.V2_FORM, form_of(PNG), identity(224, 224, 3))


@pytest.mark.parametrize(
    "file", [b"", b"GIF89a", b"no image", PNG[:40], b"%!PS-Adobe-3.0 EPSF-3.0\n"]
)
def test_what_is_no_image_is_refused(file: bytes) -> None:
    with pytest.raises(InvalidInput, match="are no image which can be read"):
        read(Codec.V2_FORM, form_of(file))


def test_an_enormous_image_is_refused_by_its_head(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MOST_PIXELS", 5)
    with pytest.raises(InvalidInput, match="3 x 2 pixels, over the limit"):
        read(Codec.V2_FORM, form_of(PNG))


def test_only_declared_inputs_of_pixels_take_images() -> None:
    plain = ModelMetadata("test", (TensorMetadata("image", "UINT8", (-1, -1, 3)),), ())
    assert image_inputs(plain) == ()
    assert len(image_inputs(HWC.metadata)) == 1
