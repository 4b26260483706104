"""All settings, each written once: flags, environment variables and TOML keys derive from it.

A setting's flag is `--field-name`, its variable `SALVER_FIELD_NAME`, its TOML key
`field_name`. Precedence: flag, variable, file, default. Deriving them is `cli/options.py`'s.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


def option(default: Any, text: str, **extra: Any) -> Any:
    """A setting with its default and the sentence that `--help` shows for it."""
    metadata = {"help": text, **extra}
    if callable(default):
        return field(default_factory=default, metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, kw_only=True)
class ServeSettings:
    """What `salver serve` can be told. Sizes in bytes, times in seconds."""

    name: str = option("", "name of the model (one target only); default: the file's stem")
    runtime: str = option("", "load with this runtime instead of the one recognised")
    host: str = option("127.0.0.1", "address to listen on; 0.0.0.0 opens it to the network")
    http_port: int = option(8080, "port for HTTP; 0 picks a free one")
    grpc_port: int = option(8081, "port for gRPC; 0 picks a free one, -1 turns gRPC off")
    workers: int = option(1, "worker processes for each model")
    threads: int = option(0, "threads for one prediction; 0: cores but one, shared by the workers")
    max_batch_size: int = option(0, "most rows predicted together; 0: what suits the model")
    max_batch_delay: float = option(0.0, "seconds to wait for a batch to fill; 0 never waits")
    max_queue_size: int = option(2048, "requests that may wait for one model; beyond: 429")
    max_body_size: int = option(64 << 20, "largest request body in bytes; beyond: 413")
    request_timeout: float = option(30.0, "seconds until a request is answered 504")
    load_timeout: float = option(300.0, "seconds that loading a model may take")
    drain_timeout: float = option(30.0, "seconds to finish open requests after Ctrl-C")
    idle_timeout: float = option(120.0, "seconds until an idle connection is closed")
    max_connections: int = option(16384, "open connections; beyond: refused")
    worker_memory: int = option(0, "bytes of memory a worker may take; 0: three quarters of the machine's")
    state_dir: Path = option(lambda: Path.home() / ".salver", "folder for what must be kept")
    tls_cert: str = option("", "certificate file (PEM): serves HTTPS")
    tls_key: str = option("", "key file (PEM) of the certificate")
    log_format: str = option("text", "text or json", choices=("text", "json"))
    log_level: str = option("info", "debug, info, warning or error", choices=("debug", "info", "warning", "error"))
    log_requests: bool = option(False, "a log line for every request")
    otlp_endpoint: str = option("", "send OpenTelemetry spans to this OTLP/HTTP address")
    trace_sample: float = option(1.0, "fraction of requests without a sampled parent to trace")
