"""TensorFlow Serving's REST messages of `:classify` and `:regress`.

    {"signature_name": ..., "context": {...}, "examples": [{feature: value or list}, ...]}
    -> {"results": [[[label, score], ...], ...]}  or  {"results": [value, ...]}

`aux` says which of the two is asked. Bytes are `{"b64": ...}`, as in V1.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

import msgspec
import orjson

from salver.errors import InvalidInput
from salver.inference.tensor import InferResponse
from salver.protocol.rows import ApartCodec
from salver.protocol.tfs_examples import Example, ExamplesRequest, examples_request
from salver.protocol.tfs_results import classifications, regressions
from salver.protocol.v2_json import MALFORMED, malformed, parse_leniently
from salver.protocol.wire import EncodedResponse, ModelIdentity, WireRequest
from salver.protocol.wire_codes import REGRESS_AUX


class _Body(msgspec.Struct):
    examples: list[dict[str, Any]]
    context: dict[str, Any] | None = None
    signature_name: str | None = None


_decode_body = msgspec.json.Decoder(_Body).decode


class TfsExamplesJsonCodec(ApartCodec):
    """See `wire.WireCodec`."""

    def decode(self, body: bytes | memoryview, aux: int, model: ModelIdentity) -> WireRequest:
        parsed = _parsed(body, model)
        is_regression = aux == REGRESS_AUX
        name = parsed.signature_name or ""
        context = _example(parsed.context or {}, model)
        examples = [{**context, **_example(each, model)} for each in parsed.examples]
        return examples_request(name, examples, model, is_regression=is_regression)

    def encode(
        self, response: InferResponse, request: WireRequest, model: ModelIdentity
    ) -> EncodedResponse:
        assert isinstance(request, ExamplesRequest)
        results: list[Any]
        if request.is_regression:
            results = list(regressions(response, model))
        else:
            results = classifications(response, request.view or model, model)
        return EncodedResponse(b'{"results":' + orjson.dumps(results) + b"}")


def _parsed(body: bytes | memoryview, model: ModelIdentity) -> _Body:
    try:
        return _decode_body(body)
    except MALFORMED as error:
        try:
            return msgspec.convert(parse_leniently(body), _Body)
        except MALFORMED:
            raise malformed(error, "request with examples", model) from error


def _example(features: dict[str, Any], model: ModelIdentity) -> Example:
    return {
        name: [
            _value(each, name, model) for each in (value if isinstance(value, list) else [value])
        ]
        for name, value in features.items()
        if value is not None
    }


def _value(value: Any, name: str, model: ModelIdentity) -> Any:
    if isinstance(value, dict) and list(value) == ["b64"]:
        try:
            return base64.b64decode(value["b64"], validate=True)
        except (TypeError, ValueError, binascii.Error) as error:
            raise InvalidInput(
                f"feature {name[:64]!r} for model {model.name!r} has a 'b64' that is not base64: "
                f"correct it"
            ) from error
    if isinstance(value, dict | list) or value is None:
        raise InvalidInput(
            f"feature {name[:64]!r} for model {model.name!r} is neither a value nor a list of "
            f"values: send numbers, strings or {{'b64': ...}}"
        )
    return value
