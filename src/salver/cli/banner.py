"""What `salver serve` says once it is up: models, services, addresses, a `curl` line that works.

Pure: when it is said, and where, is `announcing.py`'s.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from salver.inference.metadata import ANY_DIMENSION, ModelMetadata, TensorMetadata
from salver.server.rest import sample

_MOST_INPUTS_SHOWN = 3
_MOST_SERVICES_SHOWN = 20
_MOST_WHY = 160
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


class ServiceFacts(msgspec.Struct, frozen=True):
    """A service that is declared. Without `metadata` nothing is known of what it takes."""

    name: str
    namespace: str
    is_ready: bool
    url: str = ""
    why: str = ""
    metadata: ModelMetadata | None = None

    @property
    def label(self) -> str:
        """What people call it: the default namespace goes without saying."""
        return self.name if self.namespace == "default" else f"{self.namespace}/{self.name}"


class PoolFacts(msgspec.Struct, frozen=True):
    """Models that are loaded on their first requests; one of them as an example."""

    count: int
    example: str = ""
    budget_bytes: int = 0


class ServerFacts(msgspec.Struct, frozen=True):
    """A server that is up; ports are those it got. `grpc_port` is -1 where gRPC is off."""

    models: tuple[ModelFacts, ...]
    host: str
    http_port: int
    grpc_port: int
    tls_cert: str = ""
    services: tuple[ServiceFacts, ...] = ()
    pool: PoolFacts = PoolFacts(0)


def as_text(facts: ServerFacts) -> str:
    """The banner for a person."""
    http = http_url(facts)
    lines = ["", *_served(facts), f"  http     {http}"]
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
    fields: dict[str, Any] = {
        "http": http_url(facts),
        "grpc": grpc,
        "models": models,
        "try": curl_line(facts),
    }
    if facts.pool.count:
        fields["pooled_models"] = facts.pool.count
    return fields


def service_fields(facts: ServerFacts) -> dict[str, Any]:
    """The services as the fields of one log line."""
    services = [
        {"name": each.label, "ready": each.is_ready, "url": each.url, "why": each.why}
        for each in facts.services
    ]
    return {"services": services, "try": curl_line(facts)}


def http_url(facts: ServerFacts) -> str:
    """The base URL that reaches the server from this machine."""
    scheme = "https" if facts.tls_cert else "http"
    return f"{scheme}://{_authority(facts.host, facts.http_port)}"


def curl_line(facts: ServerFacts) -> str:
    """A shell command that gets an answer from the first model or service that works, if any."""
    line = next(_curl_lines(facts), "")
    trust = f"curl --cacert {shlex.quote(facts.tls_cert)}" if facts.tls_cert else "curl"
    return trust + line.removeprefix("curl") if line else ""


def _curl_lines(facts: ServerFacts) -> Iterator[str]:
    base = http_url(facts)
    for model in facts.models:
        if model.metadata is not None:
            yield sample.curl_line(model.name, model.metadata, base)
    for service in facts.services:
        if service.metadata is not None and service.is_ready:
            base = service.url.removesuffix(_SELDON_PATH)
            if base == service.url:
                yield sample.curl_line(service.name, service.metadata, base)
            else:
                yield sample.seldon_line(service.metadata, service.url)
    if facts.pool.example:
        # What it takes is not known before it is loaded, which this does.
        path = sample.infer_path(facts.pool.example).removesuffix("/infer")
        yield f"curl {shlex.quote(base + path)}"


def _authority(host: str, port: int) -> str:
    reached = _REACHED_AS.get(host, host)
    return f"[{reached}]:{port}" if ":" in reached else f"{reached}:{port}"


def _served(facts: ServerFacts) -> Iterator[str]:
    """The tables, each with an empty line after it."""
    if facts.models:
        yield from (*_table(_HEADER, [_row(model) for model in facts.models]), "")
    if facts.services:
        shown = [_service_row(each) for each in facts.services[:_MOST_SERVICES_SHOWN]]
        yield from _table(_SERVICE_HEADER, shown)
        left = len(facts.services) - len(shown)
        if left:
            yield f"  and {left:,} more: salver get inferenceservices -A"
        yield ""
    if facts.pool.count:
        yield from (_pool_line(facts.pool), "")
    if not (facts.models or facts.services or facts.pool.count):
        server = "" if facts.http_port == _DEFAULT_PORT else f" --server {http_url(facts)}"
        yield from (
            "  Nothing is served yet. Declare a model from another terminal:",
            f"    salver apply{server} -f service.yaml",
            f"    kubectl --server {http_url(facts)} apply -f service.yaml",
            "",
        )


def _pool_line(pool: PoolFacts) -> str:
    what = f"{pool.count:,} models" if pool.count != 1 else "1 model"
    limit = f", within {pool.budget_bytes / (1 << 20):,.0f} MiB" if pool.budget_bytes else ""
    example = f"; one of them is {pool.example}" if pool.count > 1 and pool.example else ""
    return f"  {what}, loaded on the first request{limit}{example}"


def _service_row(service: ServiceFacts) -> Sequence[str]:
    why = service.why if len(service.why) <= _MOST_WHY else service.why[: _MOST_WHY - 3] + "..."
    state = "yes" if service.is_ready else "no"
    return service.label, state, service.url if service.is_ready else why


_DEFAULT_PORT = 8080
_SELDON_PATH = "/api/v1.0/predictions"
_HEADER = ("model", "version", "runtime", "inputs", "")
_SERVICE_HEADER = ("service", "ready", "url")


def _row(model: ModelFacts) -> Sequence[str]:
    if model.metadata is None:
        return (model.name, model.version, model.runtime, "", f"FAILED: {model.failure}")
    state = f"loaded in {model.load_s:.2f} s"
    return (model.name, model.version, _runtime(model), _inputs(model.metadata.inputs), state)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    last = len(header) - 1
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(last)]
    for row in (header, *rows):
        cells = [cell.ljust(width) for cell, width in zip(row[:last], widths, strict=True)]
        yield "  " + "  ".join([*cells, row[last]]).rstrip()


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
