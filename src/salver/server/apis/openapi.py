"""OpenAPI of the declared types, as far as kubectl reads it: for `explain` and `apply`. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from salver.control.resources import JsonObject
from salver.server.apis.paths import group_versions, served
from salver.server.apis.ports import SchemaOf
from salver.spec.kinds import ResourceType

_INFO = {"title": "Salver", "version": "v1"}
_TEXT = {"type": "string"}
_TEXT_MAP = {"type": "object", "additionalProperties": _TEXT}
_OBJECT_META = {
    "type": "object",
    "description": "Name, labels, annotations and what the server keeps about the object.",
    "properties": {
        **dict.fromkeys(
            ("name", "generateName", "namespace", "uid", "resourceVersion", "selfLink"), _TEXT
        ),
        **dict.fromkeys(("creationTimestamp", "deletionTimestamp"), _TEXT),
        **dict.fromkeys(("labels", "annotations"), _TEXT_MAP),
        "generation": {"type": "integer", "format": "int64"},
        "finalizers": {"type": "array", "items": _TEXT},
        "ownerReferences": {"type": "array", "items": {"type": "object"}},
        "managedFields": {"type": "array", "items": {"type": "object"}},
    },
}
_QUERY = ("dryRun", "fieldManager", "fieldValidation", "force")
PATCH_TYPES = (
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/apply-patch+yaml",
)
"""Those that the document offers. Without the strategic one, as for custom resources, clients
use merge patches, or for Kubernetes' own types what they know of them."""


def any_object(type: ResourceType, version: str) -> JsonObject:
    """The schema of a type about which nothing is known."""
    return {
        "type": "object",
        "description": f"{type.kind}.",
        "x-kubernetes-preserve-unknown-fields": True,
    }


def index_v3(types: Sequence[ResourceType]) -> JsonObject:
    """`/openapi/v3`: where the documents of the versions are."""
    paths = {}
    for group, versions in group_versions(types).items():
        for version in versions:
            name = f"apis/{group}/{version}" if group else f"api/{version}"
            paths[name] = {"serverRelativeURL": f"/openapi/v3/{name}"}
    return {"paths": paths}


def document_v3(
    types: Sequence[ResourceType], group: str, version: str, schema_of: SchemaOf
) -> JsonObject | None:
    """`/openapi/v3/apis/GROUP/VERSION`, None if there is no such version."""
    chosen = [each for each in types if (group, version) in served(each)]
    if not chosen:
        return None
    paths: JsonObject = {}
    schemas: JsonObject = {}
    for each in chosen:
        name = _definition_name(group, version, each.kind)
        schema, definitions = _hoisted(schema_of(each, version), name)
        kind = [{"group": group, "version": version, "kind": each.kind}]
        schemas |= definitions
        schemas[name] = {**_with_identity(schema), "x-kubernetes-group-version-kind": kind}
        paths[_object_path(each, group, version)] = _operations(each, kind[0], name)
    return {
        "openapi": "3.0.0",
        "info": _INFO,
        "paths": paths,
        "components": {"schemas": schemas},
    }


def _definition_name(group: str, version: str, kind: str) -> str:
    reverse = ".".join(reversed(group.split("."))) if group else "io.k8s.api.core"
    return f"{reverse}.{version}.{kind}"


def _object_path(type: ResourceType, group: str, version: str) -> str:
    root = f"/apis/{group}/{version}" if group else f"/api/{version}"
    scope = "/namespaces/{namespace}" if type.namespaced else ""
    return f"{root}{scope}/{type.plural}/{{name}}"


def _operations(type: ResourceType, kind: JsonObject, definition: str) -> JsonObject:
    body = {"schema": {"$ref": f"#/components/schemas/{definition}"}}
    answers = {"200": {"description": "OK", "content": {"application/json": body}}}
    names = ["name", *(["namespace"] if type.namespaced else [])]
    return {
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in names
        ],
        "get": {
            "operationId": f"read{type.kind}",
            "x-kubernetes-action": "get",
            "x-kubernetes-group-version-kind": kind,
            "responses": answers,
        },
        "patch": {
            "operationId": f"patch{type.kind}",
            "x-kubernetes-action": "patch",
            "x-kubernetes-group-version-kind": kind,
            "parameters": [
                {"name": name, "in": "query", "schema": {"type": "string"}} for name in _QUERY
            ],
            "requestBody": {"content": {each: {"schema": {}} for each in PATCH_TYPES}},
            "responses": answers,
        },
    }


def _with_identity(schema: JsonObject) -> JsonObject:
    """With the fields that every object has, where the schema lists its fields at all."""
    common = {"apiVersion": _TEXT, "kind": _TEXT, "metadata": _OBJECT_META}
    return {**schema, "properties": {**common, **schema.get("properties", {})}}


def _hoisted(schema: JsonObject, prefix: str) -> tuple[JsonObject, JsonObject]:
    """JSON Schema's `$defs` as components of the document, references to them included."""
    definitions = schema.get("$defs") or {}
    own = {key: value for key, value in schema.items() if key not in ("$defs", "$schema")}
    # A schema that is nothing but a reference becomes what it refers to.
    name = str(own.get("$ref", "")).removeprefix("#/$defs/")
    if name in definitions:
        own = {**definitions[name], **{key: own[key] for key in own if key != "$ref"}}
    return _renamed(own, prefix), {
        f"{prefix}.{key}": _renamed(value, prefix) for key, value in definitions.items()
    }


def _renamed(value: Any, prefix: str) -> Any:
    if isinstance(value, dict):
        return {
            key: f"#/components/schemas/{prefix}.{inner.removeprefix('#/$defs/')}"
            if key == "$ref" and isinstance(inner, str) and inner.startswith("#/$defs/")
            else _renamed(inner, prefix)
            for key, inner in value.items()
        }
    if isinstance(value, list):
        return [_renamed(each, prefix) for each in value]
    return value


def document_v2() -> JsonObject:
    """`/openapi/v2`: nothing but valid. Clients that know version 3 take that."""
    return {"swagger": "2.0", "info": _INFO, "paths": {}, "definitions": {}}


PROTOBUF_V2 = b"\x0a\x032.0\x12\x0c\x0a\x06Salver\x12\x02v1\x42\x00"
"""`document_v2` as `openapi.v2.Document`, which old clients of version 2 accept only.

Field 1 is `swagger`, 2 is `info` (1 title, 2 version), 8 is `paths`, empty.
"""
