"""All settings, each written once: flags, environment variables and TOML keys derive from it.

A setting's flag is `--field-name`, its variable `SALVER_FIELD_NAME`, its TOML key
`field_name`. Precedence: flag, variable, file, default. Deriving and checking them is
`cli/options.py`'s; nothing here reads the environment or a file.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any


class Unit(Enum):
    """How a setting is written by people, beyond its type."""

    PLAIN = ""
    BYTES = "SIZE"
    SECONDS = "DURATION"
    FILE = "FILE"
    FOLDER = "FOLDER"


@dataclass(frozen=True, kw_only=True)
class Option:
    """What `--help` says of a setting, and which values it takes."""

    help: str
    group: str
    unit: Unit = Unit.PLAIN
    least: float | None = None
    most: float | None = None
    choices: tuple[str, ...] = ()
    metavar: str = "TEXT"
    peer_variable: str = ""
    """Another server's variable for the same, read where ours is not set."""


MODELS = "models"
LISTENERS = "listeners"
BATCHING = "batching"
LIMITS = "limits"
TOPICS = "topics"
TLS = "encryption"
SIGHT = "logs and traces"


def option(default: Any, help: str, group: str, **extra: Any) -> Any:
    """A setting with its default and its `Option`."""
    metadata = {"option": Option(help=help, group=group, **extra)}
    return field(default=default, metadata=metadata)


def _default_state_dir() -> Path:
    return Path("~/.salver").expanduser()


@dataclass(frozen=True, kw_only=True)
class ServeSettings:
    """What `salver serve` can be told. Sizes in bytes, times in seconds."""

    name: str = option("", "name of the model (one TARGET only); default: the file's stem", MODELS)
    runtime: str = option(
        "", "load with this runtime (sklearn, onnx, ...) instead of the one recognised", MODELS
    )
    filename: tuple[str, ...] = option(
        (),
        "apply the resources in this file, folder or URL at the start; can be repeated",
        MODELS,
        metavar="FILE",
    )
    map: tuple[str, ...] = option(
        (),
        "take URIs that begin with PREFIX from TARGET, a folder or URI; can be repeated",
        MODELS,
        metavar="PREFIX=TARGET",
    )
    workers: int = option(1, "worker processes for each model", MODELS, least=1, most=1024)
    threads: int = option(
        0, "threads for one prediction; 0: cores but one, shared by the workers", MODELS, least=0
    )
    tritonserver: str = option(
        "",
        "NVIDIA's Triton, which runs models of backends that Salver has not (TensorRT, DALI); "
        "default: tritonserver in PATH, else /opt/tritonserver/bin/tritonserver",
        MODELS,
        metavar="PROGRAM",
    )
    compile: str = option(
        "auto",
        "build faster engines for scikit-learn, XGBoost and LightGBM models, and let them answer "
        "where they agree: auto (exact ones, beside the first requests), exact (before them), "
        "fast (float32 too), off",
        MODELS,
        choices=("auto", "exact", "fast", "off"),
    )
    worker_memory: int = option(
        0,
        "memory that one worker may take; 0: three quarters of the machine's",
        MODELS,
        unit=Unit.BYTES,
        least=0,
    )
    memory_budget: int = option(
        0,
        "load models on their first request, and unload the least recently used beyond this; "
        "0: load all at the start",
        MODELS,
        unit=Unit.BYTES,
        least=0,
    )
    load_timeout: float = option(
        300.0, "time that loading a model may take", MODELS, unit=Unit.SECONDS, least=0.001
    )
    state_dir: Path = field(
        default_factory=_default_state_dir,
        metadata={
            "option": Option(
                help="folder for declared resources, fetched models and environments",
                group=MODELS,
                unit=Unit.FOLDER,
            )
        },
    )

    cache_size: int = option(
        20 << 30, "disk that fetched models may take", MODELS, unit=Unit.BYTES, least=0
    )
    environment_timeout: float = option(
        600.0,
        "time that making a model's Python environment may take",
        MODELS,
        unit=Unit.SECONDS,
        least=1,
    )
    environment_cache_size: int = option(
        10 << 30,
        "disk that Python environments which nothing uses may take",
        MODELS,
        unit=Unit.BYTES,
        least=0,
    )
    offline: bool = option(False, "fetch and install nothing: use what is cached", MODELS)
    domain: str = option(
        "example.com", "services answer to the Host header NAME-NAMESPACE.DOMAIN", LISTENERS
    )

    propagate_headers: tuple[str, ...] = option(
        (),
        "hand request headers whose names match this regular expression on to the steps of "
        "InferenceGraphs; can be repeated; KServe's PROPAGATE_HEADERS is read too",
        LISTENERS,
        metavar="PATTERN",
        peer_variable="PROPAGATE_HEADERS",
    )

    host: str = option(
        "127.0.0.1", "address to listen on; 0.0.0.0 opens it to the network", LISTENERS
    )
    http_port: int = option(
        8080, "port for HTTP; 0 picks a free one", LISTENERS, least=0, most=65535
    )
    grpc_port: int = option(
        8081,
        "port for gRPC; 0 picks a free one, -1 turns gRPC off",
        LISTENERS,
        least=-1,
        most=65535,
    )

    max_batch_size: int = option(
        0, "most rows predicted together; 0: what suits the model", BATCHING, least=0
    )
    max_batch_delay: float = option(
        0.0, "time to wait for a batch to fill; 0 never waits", BATCHING, unit=Unit.SECONDS, least=0
    )

    priority_levels: int = option(
        0,
        "V2 requests may name a priority from 1 (served first) to this; those that name none have "
        "the last; 0: all are equal, unless Triton's config.pbtxt says otherwise",
        BATCHING,
        least=0,
        most=1 << 31,
    )
    rate_limit: str = option(
        "off",
        "hold executions back until the resources are free that rate_limiter names in Triton's "
        "config.pbtxt: off, execution_count",
        BATCHING,
        choices=("off", "execution_count"),
    )
    rate_limit_resource: tuple[str, ...] = option(
        (),
        "how many of a resource there are; default: the most that one model needs; can be repeated",
        BATCHING,
        metavar="NAME:COUNT[:DEVICE]",
    )

    max_queue_size: int = option(
        2048, "requests that may wait for one model; beyond: 429", LIMITS, least=1
    )
    max_body_size: int = option(
        64 << 20, "largest request body; beyond: 413", LIMITS, unit=Unit.BYTES, least=1
    )
    max_connections: int = option(16384, "open connections; beyond: refused", LIMITS, least=1)
    request_timeout: float = option(
        30.0, "time until a request is answered 504", LIMITS, unit=Unit.SECONDS, least=0.001
    )
    idle_timeout: float = option(
        120.0, "time until an idle connection is closed", LIMITS, unit=Unit.SECONDS, least=0.001
    )
    drain_timeout: float = option(
        30.0, "time to finish open requests after Ctrl-C", LIMITS, unit=Unit.SECONDS, least=0
    )

    admin_key: str = option(
        "",
        "key of the admin API; without one it answers this machine's own programs only",
        LISTENERS,
        metavar="KEY",
    )

    client_shared_memory: str = option(
        "local",
        "take tensors from shared memory that clients on this machine register: local, or off",
        LIMITS,
        choices=("off", "local"),
    )

    nats: tuple[str, ...] = option(
        (),
        "answer requests that come over this NATS cluster, such as nats://127.0.0.1:4222; can be "
        "repeated",
        TOPICS,
        metavar="URL",
    )
    nats_stream: str = option(
        "",
        "take requests from this JetStream stream, and acknowledge them once they are answered; "
        "without one, requests that nobody hears are lost",
        TOPICS,
        metavar="NAME",
    )
    nats_credentials: str = option("", "credentials file for NATS", TOPICS, unit=Unit.FILE)
    kafka: tuple[str, ...] = option(
        (),
        "answer requests that come over this Kafka cluster, such as 127.0.0.1:9092; can be "
        "repeated",
        TOPICS,
        metavar="HOST:PORT",
    )
    topic_input: str = option(
        "salver.infer.{model}",
        "where requests come from; without {model}, the header salver-model names the model",
        TOPICS,
        metavar="TOPIC",
    )
    topic_output: str = option(
        "salver.replies.{model}",
        "where answers go if the request does not say",
        TOPICS,
        metavar="TOPIC",
    )
    topic_dead_letters: str = option(
        "salver.dead.{model}", "where requests go that are given up", TOPICS, metavar="TOPIC"
    )
    topic_group: str = option(
        "salver", "servers of one group share the requests", TOPICS, metavar="NAME"
    )
    topic_in_flight: int = option(
        256, "requests of one topic that may be under way", TOPICS, least=1, most=65536
    )
    topic_attempts: int = option(
        5, "how often a request is tried before it is given up", TOPICS, least=1, most=1000
    )

    tls_cert: str = option("", "certificate (PEM): serves HTTPS", TLS, unit=Unit.FILE)
    tls_key: str = option("", "key (PEM) of the certificate", TLS, unit=Unit.FILE)

    log_format: str = option("text", "how log lines are written", SIGHT, choices=("text", "json"))
    log_level: str = option(
        "info", "least level that is logged", SIGHT, choices=("debug", "info", "warning", "error")
    )
    log_requests: bool = option(False, "write a log line for every request", SIGHT)
    otlp_endpoint: str = option("", "send OpenTelemetry spans to this OTLP/HTTP address", SIGHT)
    trace_sample: float = option(
        1.0, "fraction of requests without a sampled parent to trace", SIGHT, least=0, most=1
    )
    trace_file: str = option(
        "",
        "where traces go that clients turn on by Triton's trace settings; default: a file of the "
        "state folder",
        SIGHT,
        unit=Unit.FILE,
    )


_RESOURCE = re.compile(r"(?P<name>[^:\s]+):(?P<count>[0-9]{1,9})(?::(?P<device>[0-9]{1,4}))?\Z")


def rate_limit_resource(text: str) -> tuple[str, int, str]:
    """Name, count and device (empty: any) of a `--rate-limit-resource`. Raises `ValueError`."""
    found = _RESOURCE.match(text)
    if found is None:
        raise ValueError(f"{text!r} is not NAME:COUNT or NAME:COUNT:DEVICE; give such as R1:4")
    return found["name"], int(found["count"]), found["device"] or ""
