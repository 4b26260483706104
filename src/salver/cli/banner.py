"""What `salver serve` prints once it is up: models, addresses and a `curl` line that works.

Rendering is pure; `announce` alone writes. With JSON logs the same facts are one log line.
"""

from __future__ import annotations

import logging
import shlex
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from salver.inference.metadata import ANY_DIMENSION, ModelMetadata, TensorMetadata
from salver.server.rest import sample
from salver.settings import ServeSettings
from salver.telemetry.logs import log_event

if TYPE_CHECKING:
    from salver.backends.local.model import LocalModel
    from salver.bootstrap import Running

logger = logging.getLogger("salver.server")

_MOST_INPUTS_SHOWN = 3
_REACHED_AS = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}
"""Where this machine reaches a server that listens on all its addresses."""


class ModelFacts(msgspec.Struct, frozen=True):
    """One version of a model. Without `metadata` it is not served, and `failure` says why."""

    name: str
    version: str
    runtime: str
    metadata: ModelMetadata | None
    load_s: float = 0.0
    failure: str = ""


class ServerFacts(msgspec.Struct, frozen=True):
    """A server that is up; ports are those it got. `grpc_port` is -1 where gRPC is off."""

    models: tuple[ModelFacts, ...]
    host: str
    http_port: int
    grpc_port: int
    tls_cert: str = ""


def announce(running: Running) -> None:
    """Prints what runs, on stdout, or logs it if the logs are JSON."""
    facts = facts_of(running)
    if running.settings.log_format == "json":
        log_event(logger, logging.INFO, "serving", **log_fields(facts))
    else:
        print(as_text(facts), flush=True)


def facts_of(running: Running) -> ServerFacts:
    """What the banner says of a server."""
    settings: ServeSettings = running.settings
    return ServerFacts(
        models=tuple(_model_facts(model) for model in running.catalog.models()),
        host=settings.host,
        http_port=running.http_port,
        grpc_port=running.grpc_port,
        tls_cert=settings.tls_cert,
    )


def _model_facts(model: LocalModel) -> ModelFacts:
    runtime = model.order.runtime if model.order else ""
    if model.report is None or not model.is_ready:
        return ModelFacts(model.name, model.version, runtime, None, failure=model.status.reason)
    load_s = model.report.load_s + model.report.warmup_s
    return ModelFacts(model.name, model.version, runtime, model.report.metadata, load_s)


def as_text(facts: ServerFacts) -> str:
    """The banner for a person."""
    http = http_url(facts)
    lines = ["", *_table([_row(model) for model in facts.models]), "", f"  http     {http}"]
    if facts.grpc_port >= 0:
        lines += [f"  grpc     {_authority(facts.host, facts.grpc_port)}"]
    lines += [f"  docs     {http}/docs", f"  metrics  {http}/metrics", ""]
    line = curl_line(facts)
    if line:
        lines += ["Try it:", f"  {line}", ""]
    return "\n".join([*lines, "Ctrl-C stops it."])


def log_fields(facts: ServerFacts) -> dict[str, Any]:
    """The banner as the fields of one log line."""
    grpc = _authority(facts.host, facts.grpc_port) if facts.grpc_port >= 0 else None
    models = [_model_fields(model) for model in facts.models]
    return {"http": http_url(facts), "grpc": grpc, "models": models, "try": curl_line(facts)}


def http_url(facts: ServerFacts) -> str:
    """The base URL that reaches the server from this machine."""
    scheme = "https" if facts.tls_cert else "http"
    return f"{scheme}://{_authority(facts.host, facts.http_port)}"


def curl_line(facts: ServerFacts) -> str:
    """A shell command that gets a prediction from the first model; empty if none is served."""
    for model in facts.models:
        if model.metadata is not None:
            line = sample.curl_line(model.name, model.metadata, http_url(facts))
            trust = f"curl --cacert {shlex.quote(facts.tls_cert)}" if facts.tls_cert else "curl"
            return trust + line.removeprefix("curl")
    return ""


def _authority(host: str, port: int) -> str:
    reached = _REACHED_AS.get(host, host)
    return f"[{reached}]:{port}" if ":" in reached else f"{reached}:{port}"


_HEADER = ("model", "version", "runtime", "inputs", "")


def _row(model: ModelFacts) -> Sequence[str]:
    if model.metadata is None:
        return (model.name, model.version, model.runtime, "", f"FAILED: {model.failure}")
    state = f"loaded in {model.load_s:.2f} s"
    return (model.name, model.version, _runtime(model), _inputs(model.metadata.inputs), state)


def _table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(len(row[column]) for row in (_HEADER, *rows)) for column in range(4)]
    for row in (_HEADER, *rows):
        cells = [cell.ljust(width) for cell, width in zip(row[:4], widths, strict=True)]
        yield "  " + "  ".join([*cells, row[4]]).rstrip()


def _runtime(model: ModelFacts) -> str:
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


def _model_fields(model: ModelFacts) -> dict[str, Any]:
    fields: dict[str, Any] = {"name": model.name, "version": model.version}
    if model.metadata is None:
        return {**fields, "runtime": model.runtime, "failure": model.failure}
    return {**fields, "runtime": _runtime(model), "load_s": round(model.load_s, 3)}
