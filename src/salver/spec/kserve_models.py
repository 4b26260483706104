"""KServe's TrainedModel and the kinds of its local model cache, v1alpha1."""

from __future__ import annotations

from typing import Annotated, Any

from salver.spec.fields import Fields, about
from salver.spec.metadata import ObjectMeta
from salver.spec.pods import Quantity


class TrainedModelModel(Fields, frozen=True):
    """The model itself."""

    storage_uri: Annotated[str, about("where the model is", format="uri")]
    framework: Annotated[str, about("its format, e.g. sklearn")]
    memory: Annotated[Quantity, about("memory it takes when loaded, e.g. 256Mi")]


class TrainedModelSpec(Fields, frozen=True):
    """Which service a model belongs to, and the model."""

    inference_service: Annotated[str, about("name of the InferenceService that serves it")]
    model: Annotated[TrainedModelModel, about("the model")]


class TrainedModel(Fields, frozen=True):
    """One of many models that an InferenceService serves, loaded when first used."""

    metadata: Annotated[ObjectMeta, about("name, namespace, labels, annotations")]
    spec: Annotated[TrainedModelSpec, about("the model and its service")]
    api_version: Annotated[str, about("group and version of the type")] = (
        "serving.kserve.io/v1alpha1"
    )
    kind: Annotated[str, about("name of the type")] = "TrainedModel"
    status: Annotated[Any, about("set by the server")] = None


class LocalModelCacheSpec(Fields, frozen=True):
    """A model that is fetched before it is asked for."""

    source_model_uri: Annotated[str, about("where the model is; cannot be changed", format="uri")]
    model_size: Annotated[Quantity, about("how much disk it takes, e.g. 10Gi")] = ""
    node_groups: Annotated[tuple[str, ...], about("groups of nodes that keep it", inert=True)] = ()
    service_account_name: Annotated[str, about("whose credentials fetch it")] = ""
    storage: Annotated[Any, about("credentials by a key of `storage-config`", inert=True)] = None


class LocalModelCache(Fields, frozen=True):
    """Keeps a model on this machine's disk, so that services start without fetching it."""

    metadata: Annotated[ObjectMeta, about("name, labels, annotations")]
    spec: Annotated[LocalModelCacheSpec, about("the model")]
    api_version: Annotated[str, about("group and version of the type")] = (
        "serving.kserve.io/v1alpha1"
    )
    kind: Annotated[str, about("name of the type")] = "LocalModelCache"
    status: Annotated[Any, about("set by the server")] = None


class LocalModelNamespaceCache(Fields, frozen=True):
    """A LocalModelCache for the services of one namespace."""

    metadata: Annotated[ObjectMeta, about("name, namespace, labels, annotations")]
    spec: Annotated[LocalModelCacheSpec, about("the model")]
    api_version: Annotated[str, about("group and version of the type")] = (
        "serving.kserve.io/v1alpha1"
    )
    kind: Annotated[str, about("name of the type")] = "LocalModelNamespaceCache"
    status: Annotated[Any, about("set by the server")] = None


class LocalModelNodeGroupSpec(Fields, frozen=True):
    """Disk of a group of nodes."""

    storage_limit: Annotated[Quantity, about("how much disk models may take")] = ""
    persistent_volume_spec: Annotated[Any, about("the volume", inert=True)] = None
    persistent_volume_claim_spec: Annotated[Any, about("the claim", inert=True)] = None


class LocalModelNodeGroup(Fields, frozen=True):
    """A group of nodes that keep models; one machine has none, it is read and kept only."""

    metadata: Annotated[ObjectMeta, about("name, labels, annotations")]
    spec: Annotated[LocalModelNodeGroupSpec, about("disk of the group", inert=True)]
    api_version: Annotated[str, about("group and version of the type")] = (
        "serving.kserve.io/v1alpha1"
    )
    kind: Annotated[str, about("name of the type")] = "LocalModelNodeGroup"
    status: Annotated[Any, about("set by the server")] = None


class LocalModelInfo(Fields, frozen=True):
    """A model that a node keeps."""

    source_model_uri: Annotated[str, about("where the model comes from")]
    model_name: Annotated[str, about("name of its LocalModelCache")]
    namespace: Annotated[str, about("namespace of its cache, if it has one")] = ""
    service_account_name: Annotated[str, about("whose credentials fetch it")] = ""
    storage: Annotated[Any, about("credentials by a key of `storage-config`")] = None


class LocalModelNodeSpec(Fields, frozen=True):
    """What a node keeps."""

    local_models: Annotated[tuple[LocalModelInfo, ...], about("models that the node keeps")] = ()


class LocalModelNode(Fields, frozen=True):
    """What one node keeps; one machine has none, it is read and kept only."""

    metadata: Annotated[ObjectMeta, about("name, labels, annotations")]
    spec: Annotated[LocalModelNodeSpec, about("what the node keeps", inert=True)]
    api_version: Annotated[str, about("group and version of the type")] = (
        "serving.kserve.io/v1alpha1"
    )
    kind: Annotated[str, about("name of the type")] = "LocalModelNode"
    status: Annotated[Any, about("set by the server")] = None
