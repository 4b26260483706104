"""KServe's InferenceService v1beta1, field by field.

Types only: reading is `read.py`'s, what contradicts what `checks.py`'s. The other kinds of
`serving.kserve.io` are in `kserve_runtimes.py` and `kserve_models.py`, and exported here too.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from salver.spec.fields import Fields, about
from salver.spec.kserve_models import (
    LocalModelCache,
    LocalModelNamespaceCache,
    LocalModelNode,
    LocalModelNodeGroup,
    TrainedModel,
)
from salver.spec.kserve_runtimes import (
    ClusterServingRuntime,
    ClusterStorageContainer,
    ProtocolVersion,
    ServingRuntime,
    WorkerSpec,
)
from salver.spec.kserve_scaling import AutoScalingSpec
from salver.spec.metadata import ObjectMeta
from salver.spec.pods import Container, PodSpec

__all__ = [
    "LEGACY_MODELS",
    "Batcher",
    "CanarySpec",
    "ClusterServingRuntime",
    "ClusterStorageContainer",
    "ComponentExtensionSpec",
    "ExplainerExtensionSpec",
    "ExplainerSpec",
    "InferenceService",
    "InferenceServiceSpec",
    "LocalModelCache",
    "LocalModelNamespaceCache",
    "LocalModelNode",
    "LocalModelNodeGroup",
    "LoggerSpec",
    "LoggerStorageSpec",
    "ModelFormat",
    "ModelSpec",
    "PredictorExtensionSpec",
    "PredictorSpec",
    "ServingRuntime",
    "StorageSpec",
    "StorageUri",
    "TrainedModel",
    "TransformerSpec",
]


LEGACY_MODELS = (
    "sklearn",
    "xgboost",
    "lightgbm",
    "onnx",
    "tensorflow",
    "pytorch",
    "triton",
    "huggingface",
    "pmml",
    "paddle",
)
LogMode = Literal["all", "request", "response"]


class StorageSpec(Fields, frozen=True):
    """A model by a key of the `storage-config` Secret and a path, instead of by a URI."""

    path: Annotated[str, about("path of the model within the storage")] = ""
    key: Annotated[
        str, about("which entry of the Secret `storage-config`; `default_<type>` if absent")
    ] = ""
    parameters: Annotated[
        dict[str, str], about("override the entry, e.g. `type` and `bucket`")
    ] = {}
    schema_path: Annotated[
        str, about("path of a file that describes the model's tensors", inert=True)
    ] = ""


class LoggerStorageSpec(StorageSpec, frozen=True):
    """Where logged payloads are stored."""

    service_account_name: Annotated[str, about("whose credentials are used")] = ""


class LoggerSpec(Fields, frozen=True):
    """Sends each payload as a CloudEvent to a sink."""

    url: Annotated[
        str | None,
        about("sink: an http(s) address, or file:///... ending in .jsonl or .parquet"),
    ] = None
    mode: Annotated[LogMode, about("which payloads: all unless told")] = "all"
    metadata_headers: Annotated[
        tuple[str, ...], about("request headers that go into the event's metadata")
    ] = ()
    metadata_annotations: Annotated[
        tuple[str, ...], about("the service's annotations that go into the event")
    ] = ()
    storage: Annotated[
        LoggerStorageSpec | None, about("store payloads instead of sending them", inert=True)
    ] = None
    marshaller_url: Annotated[
        str | None, about("a service that formats stored payloads", inert=True)
    ] = None
    batch_size: Annotated[int | None, about("payloads stored in one file", least=1, inert=True)] = (
        None
    )
    batch_interval: Annotated[
        str | None, about("time after which a file is stored anyway, e.g. 10s", inert=True)
    ] = None


class Batcher(Fields, frozen=True):
    """Joins V1 requests into batches before they reach the component."""

    max_batch_size: Annotated[
        int | None, about("instances in one batch; 32 unless told", least=0)
    ] = None
    max_latency: Annotated[
        int | None, about("milliseconds a request waits for others; 5000 unless told", least=0)
    ] = None
    timeout: Annotated[int | None, about("seconds a batch may take", least=0)] = None


class ComponentExtensionSpec(PodSpec, frozen=True):
    """What every component has: replicas, autoscaling, traffic, logging, batching."""

    min_replicas: Annotated[
        int | None, about("fewest replicas; 0 lets it scale to zero; 1 unless told", least=0)
    ] = None
    max_replicas: Annotated[int, about("most replicas; 0: as many as it takes", least=0)] = 0
    scale_target: Annotated[
        int | None, about("value of scaleMetric per replica that is aimed at", least=0)
    ] = None
    scale_metric: Annotated[
        Literal["cpu", "memory", "concurrency", "rps"] | None,
        about("what replicas follow; concurrency unless told"),
    ] = None
    scale_metric_type: Annotated[
        Literal["Utilization", "AverageValue"] | None,
        about("whether scaleTarget is a percentage or an amount"),
    ] = None
    auto_scaling: Annotated[
        AutoScalingSpec | None, about("several metrics, and how fast to follow them")
    ] = None
    container_concurrency: Annotated[
        int | None, about("requests a replica works on at once, a hard limit; 0: none", least=0)
    ] = None
    timeout: Annotated[int | None, about("seconds a request may take", least=0)] = None
    canary_traffic_percent: Annotated[
        int | None,
        about(
            "share of requests for the latest revision; the rest goes to the one rolled out "
            "before; without it, the latest gets all",
            least=0,
            most=100,
        ),
    ] = None
    logger: Annotated[LoggerSpec | None, about("logs requests and responses")] = None
    batcher: Annotated[Batcher | None, about("joins requests into batches")] = None
    labels: Annotated[dict[str, str], about("labels of the component's replicas")] = {}
    annotations: Annotated[
        dict[str, str], about("annotations of the component's replicas, e.g. for autoscaling")
    ] = {}
    deployment_strategy: Annotated[Any, about("how a Deployment replaces its pods", inert=True)] = (
        None
    )


class PredictorExtensionSpec(Container, frozen=True):
    """A model by its URI, and how the container that serves it differs from the runtime's."""

    storage_uri: Annotated[
        str | None, about("the model, e.g. gs://bucket/path, s3://..., pvc://claim/path")
    ] = None
    runtime_version: Annotated[
        str | None, about("version of the server; on this machine, of the library")
    ] = None
    protocol_version: Annotated[
        ProtocolVersion | None, about("protocol that clients speak; v1 unless told")
    ] = None
    storage: Annotated[
        StorageSpec | None, about("the model by a key of the Secret `storage-config`")
    ] = None
    model_class_name: Annotated[
        str | None, about("PyTorch's former way to name the model's class", inert=True)
    ] = None


class ModelFormat(Fields, frozen=True):
    """The format of a model, by which a runtime is chosen."""

    name: Annotated[str, about("name of the format, e.g. sklearn, xgboost, onnx")]
    version: Annotated[str | None, about('version of the format, e.g. "1"')] = None


class ModelSpec(PredictorExtensionSpec, frozen=True, kw_only=True):
    """A model: where it is, its format, and the runtime that serves it."""

    model_format: Annotated[ModelFormat, about("the format of the model")]
    runtime: Annotated[
        str | None, about("name of a (Cluster)ServingRuntime; chosen by format if absent")
    ] = None
    confidential: Annotated[Any, about("how an encrypted model is decrypted", inert=True)] = None


class StorageUri(Fields, frozen=True):
    """One of several things to download."""

    uri: Annotated[str, about("what to download")]
    mount_path: Annotated[str, about("where the server sees it")] = "/mnt/models"


class PredictorSpec(ComponentExtensionSpec, frozen=True):
    """The component that answers predictions: exactly one way of serving a model."""

    name: Annotated[
        str, about("name of this version; set to a canary's name, it promotes that canary")
    ] = ""
    model: Annotated[ModelSpec | None, about("a model of any format")] = None
    sklearn: Annotated[PredictorExtensionSpec | None, about("a scikit-learn model")] = None
    xgboost: Annotated[PredictorExtensionSpec | None, about("an XGBoost model")] = None
    lightgbm: Annotated[PredictorExtensionSpec | None, about("a LightGBM model")] = None
    onnx: Annotated[PredictorExtensionSpec | None, about("an ONNX model")] = None
    tensorflow: Annotated[PredictorExtensionSpec | None, about("a TensorFlow model")] = None
    pytorch: Annotated[PredictorExtensionSpec | None, about("a PyTorch model")] = None
    triton: Annotated[PredictorExtensionSpec | None, about("a Triton repository")] = None
    huggingface: Annotated[PredictorExtensionSpec | None, about("a Hugging Face model")] = None
    pmml: Annotated[PredictorExtensionSpec | None, about("a PMML model")] = None
    paddle: Annotated[PredictorExtensionSpec | None, about("a Paddle model")] = None
    storage_uris: Annotated[
        tuple[StorageUri, ...], about("several things to download, for `containers`")
    ] = ()
    storage_container_name: Annotated[
        str | None, about("which ClusterStorageContainer downloads", inert=True)
    ] = None
    worker_spec: Annotated[
        WorkerSpec | None, about("further pods of a model spread over nodes", inert=True)
    ] = None


class TransformerSpec(ComponentExtensionSpec, frozen=True):
    """The component around the predictor: it prepares requests and finishes responses."""

    storage_uris: Annotated[
        tuple[StorageUri, ...], about("things to download for the transformer")
    ] = ()
    storage_container_name: Annotated[
        str | None, about("which ClusterStorageContainer downloads", inert=True)
    ] = None


class ExplainerExtensionSpec(Container, frozen=True):
    """A ready-made explainer."""

    type: Annotated[
        str, about("the method, e.g. SquareAttack (art), AnchorTabular (alibi), LimeImages (aix)")
    ] = ""
    storage_uri: Annotated[str | None, about("the trained explainer, if it has one")] = None
    runtime_version: Annotated[str | None, about("version of the explainer's server")] = None
    config: Annotated[dict[str, str], about("arguments of the method")] = {}
    storage: Annotated[
        StorageSpec | None, about("the explainer by a key of the Secret `storage-config`")
    ] = None


class ExplainerSpec(ComponentExtensionSpec, frozen=True):
    """The component that answers `:explain`."""

    art: Annotated[ExplainerExtensionSpec | None, about("adversarial robustness toolbox")] = None
    alibi: Annotated[ExplainerExtensionSpec | None, about("Alibi's methods")] = None
    aix: Annotated[ExplainerExtensionSpec | None, about("AI Explainability 360's methods")] = None
    storage_uris: Annotated[
        tuple[StorageUri, ...], about("things to download for the explainer")
    ] = ()
    storage_container_name: Annotated[
        str | None, about("which ClusterStorageContainer downloads", inert=True)
    ] = None


class CanarySpec(Fields, frozen=True):
    """Another predictor that gets a share of the requests beside the main one."""

    predictor: Annotated[PredictorSpec, about("the predictor; it needs a `name`")]
    traffic_percent: Annotated[
        int, about("its share of the requests, in percent", least=0, most=100)
    ] = 0


class InferenceServiceSpec(Fields, frozen=True):
    """The components of a service."""

    predictor: Annotated[PredictorSpec, about("serves the model")]
    transformer: Annotated[
        TransformerSpec | None, about("prepares requests, finishes responses")
    ] = None
    explainer: Annotated[ExplainerSpec | None, about("explains predictions")] = None
    canary: Annotated[
        tuple[CanarySpec, ...], about("further predictors with a share of the requests")
    ] = ()


class InferenceService(Fields, frozen=True):
    """A model, or a chain around it, that answers requests under one name."""

    metadata: Annotated[ObjectMeta, about("name, namespace, labels, annotations")]
    spec: Annotated[InferenceServiceSpec, about("what is to be served")]
    api_version: Annotated[str, about("group and version of the type")] = (
        "serving.kserve.io/v1beta1"
    )
    kind: Annotated[str, about("name of the type")] = "InferenceService"
    status: Annotated[Any, about("what is so at present; set by the server")] = None
