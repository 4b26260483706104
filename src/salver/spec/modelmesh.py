"""ModelMesh's Predictor, `serving.kserve.io/v1alpha1`."""

from __future__ import annotations

from typing import Annotated, Any

from salver.spec.fields import Fields, about
from salver.spec.kserve_runtimes import ProtocolVersion
from salver.spec.metadata import ObjectMeta


class ModelType(Fields, frozen=True):
    """The format of a model, by which a runtime is chosen."""

    name: Annotated[str, about("name of the format, e.g. sklearn")]
    version: Annotated[str | None, about("version of the format")] = None


class S3Storage(Fields, frozen=True):
    """A bucket, by an entry of the Secret `storage-config`."""

    secret_key: Annotated[str, about("which entry of the Secret")]
    bucket: Annotated[str | None, about("the bucket, if not the entry's")] = None


class ClaimSource(Fields, frozen=True):
    """A claim that holds the model."""

    claim_name: Annotated[str, about("name of the claim")]
    read_only: Annotated[bool, about("whether it cannot be written to", inert=True)] = False


class PredictorStorage(Fields, frozen=True):
    """Where a model is: one of `s3`, `persistentVolumeClaim` and `key`."""

    s3: Annotated[S3Storage | None, about("a bucket")] = None
    persistent_volume_claim: Annotated[ClaimSource | None, about("a claim")] = None
    key: Annotated[str | None, about("which entry of the Secret `storage-config`")] = None
    parameters: Annotated[dict[str, str], about("override the entry, e.g. `bucket`")] = {}
    path: Annotated[str | None, about("path of the model, instead of spec.path")] = None
    schema_path: Annotated[str | None, about("a description of the tensors", inert=True)] = None


class RuntimeRef(Fields, frozen=True):
    """A runtime by its name."""

    name: Annotated[str, about("name of the (Cluster)ServingRuntime")]


class PredictorSpec(Fields, frozen=True):
    """A model, where it is, and the runtime that serves it."""

    model_type: Annotated[ModelType, about("the format of the model")]
    path: Annotated[str, about("path of the model within its storage")] = ""
    storage: Annotated[PredictorStorage | None, about("where the model is")] = None
    runtime: Annotated[RuntimeRef | None, about("which runtime; chosen by format if absent")] = None
    protocol_version: Annotated[ProtocolVersion | None, about("protocol that clients speak")] = None
    schema_path: Annotated[str | None, about("a description of the tensors", inert=True)] = None
    gpu: Annotated[str | None, about("whether it needs an accelerator", inert=True)] = None


class Predictor(Fields, frozen=True):
    """One model of a shared pool: loaded on first use, evicted when memory runs short."""

    metadata: Annotated[ObjectMeta, about("name, namespace, labels, annotations")]
    spec: Annotated[PredictorSpec, about("the model")]
    api_version: Annotated[str, about("group and version of the type")] = (
        "serving.kserve.io/v1alpha1"
    )
    kind: Annotated[str, about("name of the type")] = "Predictor"
    status: Annotated[Any, about("set by the server")] = None
