"""MLflow's JSON requests. The body is an object with exactly one of

    dataframe_split     {"columns": [...], "data": [[...], ...]}, an index is ignored
    dataframe_records   [{column: value, ...}, ...]
    instances           one value, list or object a row, as TensorFlow Serving has it
    inputs              {input: values}, or the values of the only input

and `params`, which become the request's parameters. A model of MLflow's that takes messages takes
its own fields (`messages`, `prompt`, `input`) as the body, too.
"""

from __future__ import annotations

from typing import Any

import msgspec

from salver.errors import InvalidInput
from salver.inference.metadata import TensorMetadata
from salver.protocol.mlflow_answers import BareRequest, MlflowAnswers
from salver.protocol.mlflow_tables import (
    AS_TABLE,
    Table,
    as_declared,
    table_of_records,
    table_of_rows,
    tensors_of,
)
from salver.protocol.v1_json import V1JsonCodec
from salver.protocol.v2_json import MALFORMED, parse_leniently
from salver.protocol.wire import ModelIdentity, WireRequest, WireTensor

FORMS = ("dataframe_split", "dataframe_records", "instances", "inputs")
_BARE = frozenset({"messages", "prompt", "input"})
_SPLIT_KEYS = frozenset({"columns", "data", "index"})
_decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_encode = msgspec.json.Encoder().encode
_v1 = V1JsonCodec()


class MlflowJsonCodec(MlflowAnswers):
    """See `wire.WireCodec`."""

    def decode(self, body: bytes | memoryview, aux: int, model: ModelIdentity) -> WireRequest:
        fields = _fields(body, model)
        if _BARE & fields.keys() and not fields.keys() & set(FORMS):
            return _bare_request(fields, model)
        form = _form(fields, model)
        params = _params(fields, model)
        if form in ("instances", "inputs"):
            return _as_v1(form, fields[form], params, model)
        return request_of_table(_table(form, _value(fields[form]), model), params, model)


def request_of_table(
    table: Table, params: dict[str, Any] | None, model: ModelIdentity
) -> WireRequest:
    """The table as a request. Raises `InvalidInput` if it is not what the model takes."""
    tensors = tensors_of(table, model)
    if _are_columns(tensors, model):
        params = {**AS_TABLE, **(params or {})}
    return WireRequest(tensors, None, params)


def _as_v1(
    form: str, value: Any, params: dict[str, Any] | None, model: ModelIdentity
) -> WireRequest:
    """V1 has the same two forms, but refuses what a model does not know."""
    request = _v1.decode(_encode({form: value}), 0, model)
    specs = {spec.name: spec for spec in model.metadata.inputs}
    tensors = [
        as_declared(tensor, specs[tensor.name]) if tensor.name in specs else tensor
        for tensor in request.inputs
    ]
    return WireRequest(_known(tensors, model), None, params)


def _known(tensors: list[WireTensor], model: ModelIdentity) -> list[WireTensor]:
    """The tensors without those that the model does not know, as MLflow leaves them out."""
    metadata = model.metadata
    if metadata.positional_input and len(tensors) == 1:
        return tensors
    names = {*metadata.column_names, *(spec.name for spec in metadata.inputs)}
    return [tensor for tensor in tensors if tensor.name in names] or tensors


def _fields(body: bytes | memoryview, model: ModelIdentity) -> dict[str, Any]:
    """The body's fields: each as its text, or as its value if the text is lenient JSON."""
    try:
        return _decode(body)
    except msgspec.ValidationError as error:
        raise InvalidInput(_no_object(body, model)) from error
    except MALFORMED as error:
        try:
            fields = parse_leniently(body)
        except MALFORMED:
            raise InvalidInput(
                f"the request to model {model.name!r} is no valid JSON: {error}"
            ) from error
    if not isinstance(fields, dict):
        raise InvalidInput(_no_object(body, model))
    return fields


def _no_object(body: bytes | memoryview, model: ModelIdentity) -> str:
    kind = "a list" if bytes(body[:64]).lstrip().startswith(b"[") else "no object"
    return (
        f"the request to model {model.name!r} is {kind}: send a JSON object with exactly one of "
        f"{', '.join(FORMS)}"
    )


def _form(fields: dict[str, Any], model: ModelIdentity) -> str:
    given = [form for form in FORMS if form in fields]
    if len(given) == 1:
        return given[0]
    fact = f"has {' and '.join(given)}" if given else f"has the fields {sorted(fields)[:10]}"
    raise InvalidInput(
        f"the request to model {model.name!r} {fact}: send exactly one of {', '.join(FORMS)}"
    )


def _value(field: Any) -> Any:
    """Of a field that is still text. Raises `InvalidInput`."""
    try:
        return msgspec.json.decode(field) if isinstance(field, msgspec.Raw) else field
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InvalidInput(f"the request holds what is no valid JSON: {error}") from error


def _params(fields: dict[str, Any], model: ModelIdentity) -> dict[str, Any] | None:
    params = _value(fields["params"]) if "params" in fields else None
    if params is None or isinstance(params, dict):
        return params or None
    raise InvalidInput(
        f"'params' of the request to model {model.name!r} is no object: send {{name: value}}"
    )


def _table(form: str, value: Any, model: ModelIdentity) -> Table:
    subject = f"'{form}' of the request to model {model.name!r}"
    if form == "dataframe_records":
        if not isinstance(value, list):
            raise InvalidInput(f"{subject} is no list: send a list of objects")
        return table_of_records(value, subject)
    if not isinstance(value, dict) or "data" not in value or not value.keys() <= _SPLIT_KEYS:
        raise InvalidInput(
            f"{subject} is no object with 'data', and 'columns' and 'index' if wanted: send these"
        )
    data, columns = value["data"], value.get("columns")
    if not isinstance(data, list) or not (columns is None or isinstance(columns, list)):
        raise InvalidInput(f"{subject} has 'data' or 'columns' that is no list: send lists")
    if data and not isinstance(data[0], list):
        # As pandas has it: the values of a single column.
        data = [[each] for each in data]
    return table_of_rows(data, columns, subject)


def _are_columns(tensors: list[WireTensor], model: ModelIdentity) -> bool:
    """Whether a model that takes any tensors must be told that these are a table's columns."""
    inputs = model.metadata.inputs
    if model.metadata.column_names:
        return False
    return not inputs or (inputs[0].any_shape and len(inputs) == 1 and len(tensors) > 1)


def _bare_request(fields: dict[str, Any], model: ModelIdentity) -> WireRequest:
    """Fields that are the model's inputs, each the one row of its column; others are params."""
    known: dict[str, TensorMetadata] = {spec.name: spec for spec in model.metadata.inputs}
    if not known.keys() & fields.keys():
        raise InvalidInput(
            f"model {model.name!r} takes no {', '.join(sorted(_BARE & fields.keys()))}: send "
            f"exactly one of {', '.join(FORMS)}"
        )
    tensors = []
    params = {}
    for name, field in fields.items():
        if name in known:
            text = bytes(field) if isinstance(field, msgspec.Raw) else _encode(field)
            tensors.append(WireTensor(name, (1,), "BYTES", [text], {"content_type": "json"}))
        else:
            params[name] = _value(field)
    return BareRequest(tensors, None, params or None)
