"""What contradicts what within one resource, and which values cannot be meant.

Pure: a typed resource in, findings with their paths out. Types, ranges and missing fields are
`decode.py`'s; what InferenceServices add is in `service_checks.py`.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from salver.spec import core, graph, kserve, kserve_graph, modelmesh
from salver.spec.graph_checks import check_inference_graph
from salver.spec.graph_native_checks import check_graph
from salver.spec.kinds import ResourceType
from salver.spec.metadata import ObjectMeta
from salver.spec.names import (
    key_fault,
    label_fault,
    label_value_fault,
    subdomain_fault,
    variable_fault,
)
from salver.spec.pods import Container, PodSpec
from salver.spec.problems import Finding, Path, did_you_mean, quoted

_ONE_SLASH = re.compile(r"([a-z][a-z0-9+.-]*):(/[^/].*|[^/0-9\\].*)?")
_OPAQUE = ("file", "models", "runs", "mlflow-artifacts")
"""Schemes whose URIs may have one slash: `models:/NAME/VERSION`."""


def check_metadata(metadata: ObjectMeta, type_: ResourceType) -> Iterator[Finding]:
    """Names, labels and annotations."""
    yield from _check_name(metadata, type_)
    if metadata.namespace and type_.namespaced:
        fault = label_fault(metadata.namespace)
        if fault:
            yield ("metadata", "namespace"), fault
    elif metadata.namespace:
        yield ("metadata", "namespace"), f"a {type_.kind} is in no namespace; remove it"
    for field, values in (("labels", metadata.labels), ("annotations", metadata.annotations)):
        for key in values:
            if fault := key_fault(key):
                yield ("metadata", field, key), fault
    for key, value in metadata.labels.items():
        if fault := label_value_fault(value):
            yield ("metadata", "labels", key), fault


def _check_name(metadata: ObjectMeta, type_: ResourceType) -> Iterator[Finding]:
    if not metadata.name:
        if not metadata.generate_name:
            yield ("metadata", "name"), "is required, but missing"
    elif type_.kind in ("InferenceService", "InferenceGraph"):
        if fault := label_fault(metadata.name, begins_with_letter=True):
            yield ("metadata", "name"), fault
    elif fault := (label_fault if type_.kind == "Namespace" else subdomain_fault)(metadata.name):
        yield ("metadata", "name"), fault


def check_resource(resource: msgspec.Struct) -> Iterator[Finding]:
    """What is wrong with a resource other than an InferenceService, beyond its metadata."""
    if isinstance(resource, kserve.ServingRuntime | kserve.ClusterServingRuntime):
        yield from _check_runtime(resource.spec)
    elif isinstance(resource, kserve.TrainedModel):
        yield from _check_trained_model(resource)
    elif isinstance(resource, kserve.ClusterStorageContainer):
        yield from _check_storage_container(resource.spec)
    elif isinstance(resource, kserve.LocalModelCache | kserve.LocalModelNamespaceCache):
        yield from check_uri(resource.spec.source_model_uri, ("spec", "sourceModelUri"))
    elif isinstance(resource, modelmesh.Predictor):
        yield from _check_predictor(resource.spec)
    elif isinstance(resource, kserve_graph.InferenceGraph):
        yield from check_inference_graph(resource)
    elif isinstance(resource, graph.Graph):
        yield from check_graph(resource)
    elif isinstance(resource, core.Secret):
        yield from _check_base64(resource.data, ("data",))
    elif isinstance(resource, core.ConfigMap):
        yield from _check_base64(resource.binary_data, ("binaryData",))


def _check_runtime(spec: Any) -> Iterator[Finding]:
    if not spec.containers:
        yield ("spec", "containers"), "is required: the container that serves the models"
    if not spec.supported_model_formats:
        yield ("spec", "supportedModelFormats"), "is required: without it no model is served"
    priorities: dict[str, int | None] = {}
    for index, each in enumerate(spec.supported_model_formats):
        if not each.auto_select:
            continue
        first = priorities.setdefault(each.name, each.priority)
        if each.priority is not None and first is not None and each.priority != first:
            path = ("spec", "supportedModelFormats", index, "priority")
            yield path, f"must be {first}, as for the other versions of {each.name}"
    yield from check_pod(spec, ("spec",))


def _check_trained_model(resource: kserve.TrainedModel) -> Iterator[Finding]:
    spec = resource.spec
    yield from check_uri(spec.model.storage_uri, ("spec", "model", "storageUri"))


def _check_storage_container(spec: Any) -> Iterator[Finding]:
    for index, each in enumerate(spec.supported_uri_formats):
        path: Path = ("spec", "supportedUriFormats", index)
        if (each.prefix is None) == (each.regex is None):
            yield path, "needs one of 'prefix' and 'regex'"
        if each.regex is not None:
            try:
                re.compile(each.regex)
            except re.error as error:
                yield (*path, "regex"), f"is no regular expression: {error}"
    yield from check_container(spec.container, ("spec", "container"), ())


def _check_predictor(spec: modelmesh.PredictorSpec) -> Iterator[Finding]:
    if spec.storage is None:
        yield from check_uri(spec.path, ("spec", "path"))
        return
    storage = spec.storage
    given = {
        "s3": storage.s3,
        "persistentVolumeClaim": storage.persistent_volume_claim,
        "key": storage.key,
    }
    names = [name for name, value in given.items() if value is not None]
    for other in names[1:]:
        yield ("spec", "storage", other), f"contradicts '{names[0]}'; keep one of the two"
    if spec.path and storage.path and spec.path != storage.path:
        yield ("spec", "storage", "path"), "contradicts spec.path; keep one of the two"


def _check_base64(values: Mapping[str, str], path: Path) -> Iterator[Finding]:
    for key, value in values.items():
        try:
            base64.b64decode("".join(value.split()), validate=True)
        except (binascii.Error, ValueError):
            advice = "; plain values go into 'stringData'" if path == ("data",) else ""
            yield (*path, key), f"is not base64{advice}"


def check_uri(uri: str | None, path: Path) -> Iterator[Finding]:
    """Whether a model's URI can be one at all; if it is known is decided when it is fetched."""
    if uri is None:
        return
    if not uri.strip():
        yield path, "must not be empty: where the model is"
    elif uri != uri.strip():
        yield path, f"has spaces around it: {quoted(uri)}"
    elif found := _ONE_SLASH.fullmatch(uri):
        if found[1] not in _OPAQUE:
            rest = (found[2] or "").lstrip("/")
            yield path, f"is no URI: {quoted(uri)}; did you mean {quoted(f'{found[1]}://{rest}')}?"
    elif re.match(r"(gs|s3|pvc|hf|https?)://(/|$)", uri):
        yield path, f"names no bucket, claim or host: {quoted(uri)}"


def check_pod(spec: PodSpec, path: Path) -> Iterator[Finding]:
    """Containers and volumes: names, duplicates, and what refers to what."""
    volumes = [volume.name for volume in spec.volumes]
    yield from _duplicates(volumes, (*path, "volumes"), "volume")
    if spec.service_account and spec.service_account_name not in ("", spec.service_account):
        yield (*path, "serviceAccount"), "contradicts 'serviceAccountName'; keep that one"
    for field, containers in (
        ("containers", spec.containers),
        ("initContainers", spec.init_containers),
    ):
        names = [container.name for container in containers]
        yield from _duplicates(names, (*path, field), "container")
        for index, container in enumerate(containers):
            yield from check_container(container, (*path, field, index), volumes)
            if len(containers) > 1 and not container.name:
                yield (*path, field, index, "name"), "is required where there are several"


def check_container(container: Container, path: Path, volumes: Sequence[str]) -> Iterator[Finding]:
    """One container; a model is one too, as far as these fields go."""
    if container.name and (fault := label_fault(container.name)):
        yield (*path, "name"), fault
    for index, variable in enumerate(container.env):
        here = (*path, "env", index)
        if variable.name and (fault := variable_fault(variable.name)):
            yield (*here, "name"), fault
        if variable.value and variable.value_from:
            yield (*here, "valueFrom"), "contradicts 'value'; keep one of the two"
    for index, mount in enumerate(container.volume_mounts):
        if mount.name and mount.name not in volumes:
            advice = did_you_mean(mount.name, volumes) or "; declare it in 'volumes'"
            here = (*path, "volumeMounts", index, "name")
            yield here, f"there is no volume {quoted(mount.name)}{advice}"
    mounts = [mount.mount_path for mount in container.volume_mounts]
    for index in _repeated(mounts):
        here = (*path, "volumeMounts", index, "mountPath")
        yield here, f"{quoted(mounts[index])} is mounted twice"


def _duplicates(names: Sequence[str], path: Path, what: str) -> Iterator[Finding]:
    for index in _repeated(names):
        first = names.index(names[index])
        here = (*path, index, "name")
        yield here, f"two {what}s are named {quoted(names[index])}; the first is {what}s[{first}]"


def _repeated(names: Sequence[str]) -> Iterator[int]:
    counts: Counter[str] = Counter()
    for index, name in enumerate(names):
        counts[name] += 1
        if name and counts[name] > 1:
            yield index
