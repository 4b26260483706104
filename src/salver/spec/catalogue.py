"""Which type each kind of resource is read as. A table, and how its kinds are looked up."""

from __future__ import annotations

import msgspec

from salver.spec import (
    core,
    graph,
    kserve,
    kserve_graph,
    modelmesh,
    seldon,
    seldon_v2,
    seldon_v2_pipeline,
    v1alpha2,
)
from salver.spec.kinds import RESOURCE_TYPES, ResourceType, resource_type
from salver.spec.problems import Finding, did_you_mean, nearest, quoted

StructType = type[msgspec.Struct]

_MADE_HERE = ("revisions", "events", "pods")

_STRUCTS: tuple[StructType, ...] = (
    kserve.InferenceService,
    v1alpha2.InferenceService,
    kserve.ServingRuntime,
    kserve.ClusterServingRuntime,
    kserve.TrainedModel,
    kserve.ClusterStorageContainer,
    kserve.LocalModelCache,
    kserve.LocalModelNamespaceCache,
    kserve.LocalModelNodeGroup,
    kserve.LocalModelNode,
    modelmesh.Predictor,
    kserve_graph.InferenceGraph,
    graph.Graph,
    seldon.SeldonDeployment,
    seldon_v2.Model,
    seldon_v2.Server,
    seldon_v2.ServerConfig,
    seldon_v2.SeldonRuntime,
    seldon_v2.SeldonConfig,
    seldon_v2.Experiment,
    seldon_v2_pipeline.Pipeline,
    core.Secret,
    core.ConfigMap,
    core.ServiceAccount,
    core.Namespace,
    core.PersistentVolumeClaim,
)


class Kind(msgspec.Struct, frozen=True):
    """A kind that can be declared: what it is called, and the type it is read as."""

    type: ResourceType
    version: str
    struct: StructType


def struct_of(type_: ResourceType, version: str) -> StructType | None:
    """The type that objects of a kind and version are read as; None if none can be declared."""
    named = [each for each in _STRUCTS if each.__name__ == type_.kind]
    if type_.kind == "InferenceService" and version == "v1alpha2":
        return v1alpha2.InferenceService
    return named[0] if named and type_.plural not in _MADE_HERE else None


def kind_of(api_version: object, kind: object) -> Kind | list[Finding]:
    """The kind of an object, or what is wrong with its `apiVersion` and `kind`."""
    missing: list[Finding] = [
        ((name,), "is required, but missing")
        for name, value in (("apiVersion", api_version), ("kind", kind))
        if not value
    ]
    if missing:
        return missing
    if not isinstance(api_version, str) or not isinstance(kind, str):
        return [(("kind",), "apiVersion and kind must be texts")]
    group, _, version = api_version.rpartition("/")
    type_ = resource_type(group, version, kind)
    if type_ is None:
        return [_unknown(api_version, kind)]
    struct = struct_of(type_, version)
    if struct is None:
        return [(("kind",), f"a {kind} is made by the server, it cannot be declared")]
    return Kind(type_, version, struct)


def _unknown(api_version: str, kind: str) -> Finding:
    known = {each.kind: each for each in RESOURCE_TYPES if struct_of(each, each.versions[0])}
    if kind in known:
        versions = _api_versions(known[kind])
        advice = did_you_mean(api_version, versions) or f"; use {quoted(versions[0])}"
        return ("apiVersion",), f"there is no {kind} in {quoted(api_version)}{advice}"
    if nearest(kind, known):
        return ("kind",), f"unknown kind {quoted(kind)}{did_you_mean(kind, known)}"
    return ("kind",), f"unknown kind {quoted(kind)} of {quoted(api_version)}; known kinds: " + (
        ", ".join(sorted(known))
    )


def _api_versions(type_: ResourceType) -> list[str]:
    own = [(type_.group, version) for version in type_.versions]
    return [f"{group}/{version}".lstrip("/") for group, version in (*own, *type_.aliases)]
