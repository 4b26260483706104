"""What `salver serve` prints once it is up: models, addresses and a `curl` line that works.

Rendering is pure; `announce` alone writes. With JSON logs the same facts are one JSON line.
"""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import quote

from salver.inference.announcement import AnnouncedModel, Announcement
from salver.inference.example import example_body
from salver.inference.metadata import ANY_DIMENSION, TensorMetadata

_MOST_VALUES_SHOWN = 64
"""A longer example is made by a Python one-liner, so that the line can still be copied."""
_MOST_INPUTS_SHOWN = 3
_ANY_ADDRESS = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}


def announce(up: Announcement, log_format: str) -> None:
    """Prints the announcement on stdout, in the form that suits the logs."""
    print(as_json(up) if log_format == "json" else as_text(up), file=sys.stdout, flush=True)


def as_text(up: Announcement) -> str:
    """The banner for a person."""
    http = http_url(up)
    lines = ["", *_table([_row(model) for model in up.models]), ""]
    lines += [f"  http     {http}"]
    if up.grpc_port >= 0:
        lines += [f"  grpc     {_authority(up.host, up.grpc_port)}"]
    lines += [f"  docs     {http}/docs", f"  metrics  {http}/metrics", ""]
    served = [model for model in up.models if model.metadata is not None]
    if served:
        lines += ["Try it:", f"  {curl_line(up, served[0])}", ""]
    return "\n".join([*lines, "Ctrl-C stops it."])


def as_json(up: Announcement) -> str:
    """The banner as one log line."""
    fields: dict[str, Any] = {
        "level": "info",
        "event": "serving",
        "http": http_url(up),
        "grpc": _authority(up.host, up.grpc_port) if up.grpc_port >= 0 else None,
        "models": [_model_fields(model) for model in up.models],
    }
    return json.dumps(fields)


def http_url(up: Announcement) -> str:
    """The base URL that reaches the server from this machine."""
    return f"{'https' if up.tls_cert else 'http'}://{_authority(up.host, up.http_port)}"


def curl_line(up: Announcement, model: AnnouncedModel) -> str:
    """A shell command that gets a prediction; `model` has metadata."""
    if model.metadata is None:
        raise ValueError(f"model {model.name} is not served: {model.failure}")
    body = example_body(model.metadata)
    url = f"{http_url(up)}/v2/models/{quote(model.name, safe='')}/infer"
    trust = f"--cacert {shlex.quote(up.tls_cert)} " if up.tls_cert else ""
    post = f"curl -s {trust}{shlex.quote(url)} -H 'Content-Type: application/json'"
    if any(len(tensor["data"]) > _MOST_VALUES_SHOWN for tensor in body["inputs"]):
        program = f"import json; print(json.dumps({_expression(body)}))"
        return f"python3 -c {shlex.quote(program)} | {post} -d @-"
    return f"{post} -d {shlex.quote(json.dumps(body))}"


def _expression(body: dict[str, Any]) -> str:
    """The body as Python source, its long tensors as one value repeated."""
    tensors = []
    for tensor in body["inputs"]:
        data = tensor["data"]
        source = repr(data) if len(data) <= _MOST_VALUES_SHOWN else f"[{data[0]!r}] * {len(data)}"
        rest = {key: value for key, value in tensor.items() if key != "data"}
        tensors.append(f"{{**{rest!r}, 'data': {source}}}")
    return f"{{'inputs': [{', '.join(tensors)}]}}"


def _authority(host: str, port: int) -> str:
    reachable = _ANY_ADDRESS.get(host, host)
    return f"[{reachable}]:{port}" if ":" in reachable else f"{reachable}:{port}"


_HEADER = ("model", "version", "runtime", "inputs", "")


def _row(model: AnnouncedModel) -> Sequence[str]:
    if model.metadata is None:
        state = f"FAILED: {model.failure}"
        return (model.name, model.version, model.runtime, "", state)
    state = f"ready in {model.ready_s:.2f} s"
    inputs = _inputs(model.metadata.inputs)
    return (model.name, model.version, _runtime(model), inputs, state)


def _runtime(model: AnnouncedModel) -> str:
    version = model.metadata.framework_version if model.metadata else ""
    return f"{model.runtime} {version}".strip()


def _inputs(inputs: Sequence[TensorMetadata]) -> str:
    shown = ", ".join(_input(tensor) for tensor in inputs[:_MOST_INPUTS_SHOWN])
    rest = len(inputs) - _MOST_INPUTS_SHOWN
    return f"{shown} and {rest} more" if rest > 0 else shown


def _input(tensor: TensorMetadata) -> str:
    if tensor.any_shape and not tensor.shape:
        return f"{tensor.name} {tensor.datatype}"
    sizes = ("*" if size == ANY_DIMENSION else str(size) for size in tensor.shape)
    return f"{tensor.name} {tensor.datatype}[{', '.join(sizes)}]"


def _table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(len(row[column]) for row in (_HEADER, *rows)) for column in range(4)]
    for row in (_HEADER, *rows):
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        yield "  " + "  ".join([*cells, row[4]]).rstrip()


def _model_fields(model: AnnouncedModel) -> dict[str, Any]:
    fields: dict[str, Any] = {"name": model.name, "version": model.version}
    if model.metadata is None:
        return {**fields, "runtime": model.runtime, "failure": model.failure}
    return {**fields, "runtime": _runtime(model), "ready_s": round(model.ready_s, 3)}
