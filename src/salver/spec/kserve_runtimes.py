"""KServe's ServingRuntime, ClusterServingRuntime and ClusterStorageContainer, v1alpha1."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from salver.spec.fields import Fields, about
from salver.spec.metadata import ObjectMeta
from salver.spec.pods import Container, EnvVar, PodSpec

ProtocolVersion = Literal["v1", "v2", "grpc-v1", "grpc-v2"]


class WorkerSpec(PodSpec, frozen=True):
    """Further pods of a model that is spread over several nodes."""

    pipeline_parallel_size: Annotated[
        int | None, about("nodes the model's layers are spread over", least=1)
    ] = None
    tensor_parallel_size: Annotated[
        int | None, about("accelerators each layer is spread over", least=1)
    ] = None


class SupportedModelFormat(Fields, frozen=True):
    """A format that a runtime can serve."""

    name: Annotated[str, about("name of the format, e.g. sklearn")]
    version: Annotated[str | None, about("version of the format; any if absent")] = None
    auto_select: Annotated[
        bool | None, about("whether the runtime may be chosen when none is named")
    ] = None
    priority: Annotated[
        int | None, about("the highest wins among runtimes that may be chosen", least=1)
    ] = None


class StorageHelper(Fields, frozen=True):
    """ModelMesh's downloader beside the runtime."""

    disabled: Annotated[bool, about("whether the runtime downloads itself")] = False


class BuiltInAdapter(Fields, frozen=True):
    """ModelMesh's adapter for a known server."""

    server_type: Annotated[str, about("triton, mlserver, ovms or torchserve")] = ""
    runtime_management_port: Annotated[int, about("port for loading models", least=0)] = 0
    mem_buffer_bytes: Annotated[int, about("memory that models may not take", least=0)] = 0
    model_loading_timeout_millis: Annotated[int, about("time to load a model", least=0)] = 0
    env: Annotated[tuple[EnvVar, ...], about("environment variables of the adapter")] = ()


class ServingRuntimeSpec(PodSpec, frozen=True):
    """Which formats a server serves, over which protocols, and the container it is."""

    supported_model_formats: Annotated[
        tuple[SupportedModelFormat, ...], about("formats it serves")
    ] = ()
    protocol_versions: Annotated[
        tuple[ProtocolVersion, ...], about("protocols it speaks; v1 if none is named")
    ] = ()
    multi_model: Annotated[bool | None, about("whether it serves many models at once")] = None
    disabled: Annotated[bool | None, about("whether it is not to be used")] = None
    labels: Annotated[dict[str, str], about("labels of the replicas")] = {}
    annotations: Annotated[dict[str, str], about("annotations of the replicas")] = {}
    worker_spec: Annotated[
        WorkerSpec | None, about("further pods of a model spread over nodes", inert=True)
    ] = None
    grpc_endpoint: Annotated[str | None, about("where ModelMesh loads models", inert=True)] = None
    grpc_data_endpoint: Annotated[
        str | None, about("where ModelMesh asks over gRPC", inert=True)
    ] = None
    http_data_endpoint: Annotated[
        str | None, about("where ModelMesh asks over HTTP", inert=True)
    ] = None
    replicas: Annotated[int | None, about("ModelMesh pods", least=0, inert=True)] = None
    storage_helper: Annotated[StorageHelper | None, about("ModelMesh's downloader", inert=True)] = (
        None
    )
    built_in_adapter: Annotated[
        BuiltInAdapter | None, about("ModelMesh's adapter for a known server", inert=True)
    ] = None


class ServingRuntime(Fields, frozen=True):
    """A server for models of some formats, for one namespace."""

    metadata: Annotated[ObjectMeta, about("name, namespace, labels, annotations")]
    spec: Annotated[ServingRuntimeSpec, about("formats, protocols, containers")]
    api_version: Annotated[str, about("group and version of the type")] = (
        "serving.kserve.io/v1alpha1"
    )
    kind: Annotated[str, about("name of the type")] = "ServingRuntime"
    status: Annotated[Any, about("set by the server")] = None


class ClusterServingRuntime(Fields, frozen=True):
    """A server for models of some formats, for all namespaces."""

    metadata: Annotated[ObjectMeta, about("name, labels, annotations")]
    spec: Annotated[ServingRuntimeSpec, about("formats, protocols, containers")]
    api_version: Annotated[str, about("group and version of the type")] = (
        "serving.kserve.io/v1alpha1"
    )
    kind: Annotated[str, about("name of the type")] = "ClusterServingRuntime"
    status: Annotated[Any, about("set by the server")] = None


class UriFormat(Fields, frozen=True):
    """URIs that a storage container can fetch: those with a prefix, or that match a regex."""

    prefix: Annotated[str | None, about("how such URIs begin, e.g. custom://")] = None
    regex: Annotated[str | None, about("what such URIs match")] = None


class StorageContainerSpec(Fields, frozen=True):
    """A program that fetches models: `command SOURCE FOLDER`."""

    container: Annotated[Container, about("the program")]
    supported_uri_formats: Annotated[tuple[UriFormat, ...], about("which URIs it fetches")]
    workload_type: Annotated[
        Literal["initContainer", "localModelDownloadJob"], about("what it is used for")
    ] = "initContainer"
    supports_multi_model_download: Annotated[
        bool | None, about("whether it takes several pairs of source and folder")
    ] = None
    disabled: Annotated[bool | None, about("whether it is not to be used")] = None


class ClusterStorageContainer(Fields, frozen=True):
    """A program that fetches models of URIs that Salver does not know itself."""

    metadata: Annotated[ObjectMeta, about("name, labels, annotations")]
    spec: Annotated[StorageContainerSpec, about("the program and its URIs")]
    api_version: Annotated[str, about("group and version of the type")] = (
        "serving.kserve.io/v1alpha1"
    )
    kind: Annotated[str, about("name of the type")] = "ClusterStorageContainer"
    disabled: Annotated[bool | None, about("whether it is not to be used")] = None
    status: Annotated[Any, about("set by the server")] = None
