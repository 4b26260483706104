"""MLServer's files: `model-settings.json` beside a model, `settings.json` of a server."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from salver.spec.fields import about


class Settings(msgspec.Struct, frozen=True, omit_defaults=True):
    """The base of both files' parts; their fields are written in snake_case."""


class TensorSettings(Settings, frozen=True):
    """What is known of one input or output."""

    name: Annotated[str, about("name of the tensor")]
    datatype: Annotated[str, about("element type, e.g. FP32")]
    shape: Annotated[tuple[int, ...], about("size of each dimension; -1: any")] = ()
    parameters: Annotated[dict[str, Any], about("e.g. content_type")] = {}


class ModelParameters(Settings, frozen=True):
    """Where the model is and how it is loaded."""

    uri: Annotated[str | None, about("path of the artifact, relative to this file")] = None
    version: Annotated[str | None, about("version of the model")] = None
    environment_path: Annotated[str | None, about("folder of a Python environment")] = None
    environment_tarball: Annotated[str | None, about("a packed Python environment")] = None
    inference_pool_gid: Annotated[
        str | None, about("models with the same value share workers", inert=True)
    ] = None
    autogenerate_inference_pool_gid: Annotated[
        bool, about("whether the model has workers of its own", inert=True)
    ] = False
    format: Annotated[
        str | None, about("format of the artifact, where a runtime knows several")
    ] = None
    content_type: Annotated[str | None, about("how requests are decoded, e.g. np, pd or str")] = (
        None
    )
    extra: Annotated[dict[str, Any], about("arguments of the runtime")] = {}


class ModelSettings(Settings, frozen=True):
    """One model: `model-settings.json`."""

    implementation: Annotated[
        str, about("import path of the runtime's class; by the model's content if absent")
    ] = ""
    name: Annotated[str, about("name of the model; the folder's if absent")] = ""
    platform: Annotated[str, about("what clients are told of the framework")] = ""
    versions: Annotated[tuple[str, ...], about("versions clients are told of")] = ()
    inputs: Annotated[tuple[TensorSettings, ...], about("what the model takes")] = ()
    outputs: Annotated[tuple[TensorSettings, ...], about("what the model returns")] = ()
    max_batch_size: Annotated[int, about("requests joined into one; 0: none", least=0)] = 0
    max_batch_time: Annotated[float, about("seconds to wait for others", least=0)] = 0.0
    cache_enabled: Annotated[bool, about("whether answers are kept", inert=True)] = False
    parallel_workers: Annotated[int | None, about("worker processes", least=0)] = None
    warm_workers: Annotated[bool, about("whether workers start at once", inert=True)] = False
    parameters: Annotated[ModelParameters | None, about("where the model is")] = None


class CorsSettings(Settings, frozen=True):
    """Which web pages may ask the server."""

    allow_origins: Annotated[tuple[str, ...], about("origins that may ask")] = ()
    allow_origin_regex: Annotated[str | None, about("origins that may ask")] = None
    allow_credentials: Annotated[bool, about("whether cookies are sent")] = False
    allow_methods: Annotated[tuple[str, ...], about("methods they may use")] = ("GET",)
    allow_headers: Annotated[tuple[str, ...], about("headers they may send")] = ()
    expose_headers: Annotated[tuple[str, ...], about("headers they may read")] = ()
    max_age: Annotated[int, about("seconds for which the answer holds")] = 600


class ServerSettings(Settings, frozen=True):
    """A server: `settings.json`."""

    debug: Annotated[bool, about("whether it logs more")] = True
    parallel_workers: Annotated[int, about("worker processes", least=0)] = 1
    parallel_workers_timeout: Annotated[int, about("seconds to stop them", least=0)] = 5
    environments_dir: Annotated[str, about("folder for Python environments", inert=True)] = ""
    model_repository_implementation: Annotated[
        str | None, about("class that finds models", inert=True)
    ] = None
    model_repository_root: Annotated[str, about("folder that models are found in")] = "."
    model_repository_implementation_args: Annotated[
        dict[str, Any], about("arguments of that class", inert=True)
    ] = {}
    load_models_at_startup: Annotated[bool, about("whether models load at once")] = True
    server_name: Annotated[str, about("name that clients are told")] = "mlserver"
    server_version: Annotated[str, about("version that clients are told", inert=True)] = ""
    extensions: Annotated[tuple[str, ...], about("extensions clients are told", inert=True)] = ()
    host: Annotated[str, about("address to listen on")] = "0.0.0.0"
    http_port: Annotated[int, about("port for HTTP", least=0, most=65535)] = 8080
    root_path: Annotated[str, about("prefix of all paths", inert=True)] = ""
    grpc_port: Annotated[int, about("port for gRPC", least=0, most=65535)] = 8081
    grpc_max_message_length: Annotated[int | None, about("largest gRPC message")] = None
    cors_settings: Annotated[CorsSettings | None, about("pages that may ask", inert=True)] = None
    metrics_endpoint: Annotated[str | None, about("path of the metrics")] = "/metrics"
    metrics_port: Annotated[int, about("port of the metrics", inert=True)] = 8082
    metrics_rest_server_prefix: Annotated[str, about("prefix of metrics' names", inert=True)] = (
        "rest_server"
    )
    metrics_dir: Annotated[str, about("folder for metrics", inert=True)] = ""
    use_structured_logging: Annotated[bool, about("whether log lines are JSON")] = False
    logging_settings: Annotated[Any, about("settings of the log", inert=True)] = None
    kafka_enabled: Annotated[bool, about("whether it reads from Kafka", inert=True)] = False
    kafka_servers: Annotated[str, about("Kafka's address", inert=True)] = ""
    kafka_topic_input: Annotated[str, about("topic of requests", inert=True)] = ""
    kafka_topic_output: Annotated[str, about("topic of answers", inert=True)] = ""
    tracing_server: Annotated[str | None, about("where spans are sent")] = None
    cache_enabled: Annotated[bool, about("whether answers are kept", inert=True)] = False
    cache_size: Annotated[int, about("answers that are kept", inert=True)] = 100
    gzip_enabled: Annotated[bool, about("whether answers are compressed", inert=True)] = True
