"""Kubernetes' own kinds that inference resources refer to, as far as they matter here."""

from __future__ import annotations

from typing import Annotated, Any

from salver.spec.fields import Fields, about
from salver.spec.metadata import ObjectMeta
from salver.spec.pods import ResourceRequirements


class Secret(Fields, frozen=True):
    """Credentials: `storage-config` for storage, or those a ServiceAccount names."""

    metadata: Annotated[ObjectMeta, about("name, namespace, labels, annotations")]
    api_version: Annotated[str, about("group and version of the type")] = "v1"
    kind: Annotated[str, about("name of the type")] = "Secret"
    type: Annotated[str, about("what the Secret is for")] = ""
    data: Annotated[dict[str, str], about("values in base64")] = {}
    string_data: Annotated[dict[str, str], about("values as they are; they override data")] = {}
    immutable: Annotated[bool | None, about("whether it can be changed", inert=True)] = None


class ConfigMap(Fields, frozen=True):
    """Values that are no secrets."""

    metadata: Annotated[ObjectMeta, about("name, namespace, labels, annotations")]
    api_version: Annotated[str, about("group and version of the type")] = "v1"
    kind: Annotated[str, about("name of the type")] = "ConfigMap"
    data: Annotated[dict[str, str], about("values as texts")] = {}
    binary_data: Annotated[dict[str, str], about("values in base64")] = {}
    immutable: Annotated[bool | None, about("whether it can be changed", inert=True)] = None


class ObjectReference(Fields, frozen=True):
    """Another object of the same namespace."""

    name: Annotated[str, about("name of the object")] = ""
    namespace: Annotated[str, about("namespace of the object", inert=True)] = ""
    kind: Annotated[str, about("kind of the object", inert=True)] = ""
    api_version: Annotated[str, about("apiVersion of the object", inert=True)] = ""
    uid: Annotated[str, about("uid of the object", inert=True)] = ""
    resource_version: Annotated[str, about("version of the object", inert=True)] = ""
    field_path: Annotated[str, about("part of the object", inert=True)] = ""


class ServiceAccount(Fields, frozen=True):
    """Names the Secrets whose credentials a service uses for storage."""

    metadata: Annotated[ObjectMeta, about("name, namespace, labels, annotations")]
    api_version: Annotated[str, about("group and version of the type")] = "v1"
    kind: Annotated[str, about("name of the type")] = "ServiceAccount"
    secrets: Annotated[tuple[ObjectReference, ...], about("Secrets with credentials")] = ()
    image_pull_secrets: Annotated[Any, about("credentials for images", inert=True)] = None
    automount_service_account_token: Annotated[
        bool | None, about("whether the account's token is mounted", inert=True)
    ] = None


class NamespaceSpec(Fields, frozen=True):
    """What a namespace wants."""

    finalizers: Annotated[tuple[str, ...], about("who must agree to its end", inert=True)] = ()


class Namespace(Fields, frozen=True):
    """Keeps names apart: objects of two namespaces may have the same name."""

    metadata: Annotated[ObjectMeta, about("name, labels, annotations")]
    api_version: Annotated[str, about("group and version of the type")] = "v1"
    kind: Annotated[str, about("name of the type")] = "Namespace"
    spec: Annotated[NamespaceSpec | None, about("what the namespace wants")] = None
    status: Annotated[Any, about("set by the server")] = None


class ClaimSpec(Fields, frozen=True):
    """What a claim wants. On one machine it is a folder, whatever is wanted of it."""

    access_modes: Annotated[tuple[str, ...], about("who may write", inert=True)] = ()
    resources: Annotated[ResourceRequirements | None, about("its size", inert=True)] = None
    volume_name: Annotated[str, about("which volume", inert=True)] = ""
    volume_mode: Annotated[str, about("files or a block device", inert=True)] = ""
    storage_class_name: Annotated[str | None, about("kind of volume", inert=True)] = None
    selector: Annotated[Any, about("labels of the volume", inert=True)] = None
    data_source: Annotated[Any, about("what it begins with", inert=True)] = None
    data_source_ref: Annotated[Any, about("what it begins with", inert=True)] = None
    volume_attributes_class_name: Annotated[str | None, about("its speed", inert=True)] = None


class PersistentVolumeClaim(Fields, frozen=True):
    """A folder that `pvc://NAME/path` refers to."""

    metadata: Annotated[ObjectMeta, about("name, namespace, labels, annotations")]
    spec: Annotated[ClaimSpec, about("what the claim wants")]
    api_version: Annotated[str, about("group and version of the type")] = "v1"
    kind: Annotated[str, about("name of the type")] = "PersistentVolumeClaim"
    status: Annotated[Any, about("set by the server")] = None
