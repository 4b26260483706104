"""What `kubectl get` prints: the columns of each type, and `Table` objects made of them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from salver.control.resources import JsonObject
from salver.server.apis.ports import Column
from salver.spec.kinds import ResourceType

PARTIAL = "PartialObjectMetadata"
META = "meta.k8s.io/v1"


def _at(*path: str) -> Any:
    def read(obj: JsonObject) -> Any:
        value: Any = obj
        for part in path:
            value = value.get(part) if isinstance(value, dict) else None
        return value

    return read


def _ready(obj: JsonObject) -> Any:
    for condition in (obj.get("status") or {}).get("conditions") or []:
        if isinstance(condition, dict) and condition.get("type") == "Ready":
            return condition.get("status")
    return None


def _condition(type: str, field: str = "status") -> Any:
    def read(obj: JsonObject) -> Any:
        for condition in (obj.get("status") or {}).get("conditions") or []:
            if isinstance(condition, dict) and condition.get("type") == type:
                return condition.get(field)
        return None

    return read


def _traffic(obj: JsonObject) -> list[JsonObject]:
    traffic = _at("status", "components", "predictor", "traffic")(obj) or []
    return [each for each in traffic if isinstance(each, dict)]


def _previous_share(obj: JsonObject) -> Any:
    return next((each.get("percent") for each in _traffic(obj) if each.get("tag") == "prev"), None)


def _latest_share(obj: JsonObject) -> Any:
    latest = (each.get("percent") for each in _traffic(obj) if each.get("latestRevision"))
    return next(latest, None)


def _data_count(obj: JsonObject) -> int:
    return len(obj.get("data") or {}) + len(obj.get("binaryData") or {})


def _restarts(obj: JsonObject) -> int:
    containers = _at("status", "containerStatuses")(obj) or []
    return sum(each.get("restartCount", 0) for each in containers)


def _ready_containers(obj: JsonObject) -> str:
    containers = _at("status", "containerStatuses")(obj) or []
    wanted = len(_at("spec", "containers")(obj) or []) or len(containers)
    return f"{sum(bool(each.get('ready')) for each in containers)}/{wanted}"


def _involved(obj: JsonObject) -> str:
    involved = obj.get("involvedObject") or {}
    return f"{str(involved.get('kind', '')).lower()}/{involved.get('name', '')}"


def _last_seen(obj: JsonObject) -> Any:
    return obj.get("lastTimestamp") or obj.get("eventTime") or _created(obj)


_created = _at("metadata", "creationTimestamp")
NAME = Column("Name", _at("metadata", "name"), description="Name of the object")
AGE = Column("Age", _created, "date", "Time since the object was created")

_COLUMNS: dict[str, tuple[Column, ...]] = {
    "InferenceService": (
        NAME,
        Column("URL", _at("status", "url"), description="Where the service answers"),
        Column("Ready", _ready, description="Whether the service can answer"),
        Column("Prev", _previous_share, "integer", "Percent of the traffic to the previous one"),
        Column("Latest", _latest_share, "integer", "Percent of the traffic to the latest one"),
        Column(
            "PrevRolledoutRevision",
            _at("status", "components", "predictor", "previousRolledoutRevision"),
            description="The revision that had all traffic before",
        ),
        Column(
            "LatestReadyRevision",
            _at("status", "components", "predictor", "latestReadyRevision"),
            description="The newest revision that can answer",
        ),
        AGE,
    ),
    "InferenceGraph": (NAME, Column("URL", _at("status", "url")), Column("Ready", _ready), AGE),
    "SeldonDeployment": (
        NAME,
        Column("State", _at("status", "state"), description="Available, Creating or Failed"),
        Column("Replicas", _at("status", "replicas"), "integer", "Replicas wanted"),
        Column("URL", _at("status", "address", "url"), description="Where it answers", priority=1),
        AGE,
    ),
    "Model": (
        NAME,
        Column("Ready", _condition("ModelReady"), description="Model ready status"),
        Column(
            "Desired Replicas",
            _at("status", "replicas"),
            "integer",
            "Number of desired replicas",
        ),
        Column(
            "Available Replicas",
            _at("status", "availableReplicas"),
            "integer",
            "Number of replicas available to receive inference requests",
        ),
        AGE,
    ),
    "Pipeline": (
        NAME,
        Column("Pipeline ready", _ready, description="Pipeline ready status"),
        Column("Models ready", _condition("ModelsReady"), priority=1),
        Column("Dataflow ready", _condition("PipelineReady"), priority=1),
        Column("Message", _condition("Ready", "message"), description="Status message"),
        AGE,
    ),
    "Experiment": (
        NAME,
        Column("Experiment ready", _condition("ExperimentReady")),
        Column("Candidates ready", _condition("CandidatesReady"), priority=1),
        Column("Mirror ready", _condition("MirrorReady"), priority=1),
        Column("Message", _condition("Ready", "message"), description="Status message"),
        AGE,
    ),
    "Graph": (
        NAME,
        Column("URL", _at("status", "url")),
        Column("Ready", _ready),
        Column("Message", _condition("Ready", "message"), description="Status message"),
        AGE,
    ),
    "TrainedModel": (NAME, Column("URL", _at("status", "url")), Column("Ready", _ready), AGE),
    "Predictor": (
        NAME,
        Column("Type", _at("spec", "modelType", "name")),
        Column("Available", _at("status", "available")),
        Column("ActiveModel", _at("status", "activeModelState")),
        Column("TargetModel", _at("status", "targetModelState")),
        Column("Transition", _at("status", "transitionStatus")),
        AGE,
    ),
    "ServingRuntime": (
        NAME,
        Column("Disabled", lambda obj: bool(_at("spec", "disabled")(obj)), "boolean"),
        Column(
            "ModelType",
            lambda obj: ",".join(
                str(each.get("name")) for each in _at("spec", "supportedModelFormats")(obj) or []
            ),
        ),
        AGE,
    ),
    "Namespace": (NAME, Column("Status", lambda obj: _at("status", "phase")(obj) or "Active"), AGE),
    "Secret": (
        NAME,
        Column("Type", lambda obj: obj.get("type") or "Opaque"),
        Column("Data", _data_count, "integer"),
        AGE,
    ),
    "ConfigMap": (NAME, Column("Data", _data_count, "integer"), AGE),
    "ServiceAccount": (
        NAME,
        Column("Secrets", lambda obj: len(obj.get("secrets") or []), "integer"),
        AGE,
    ),
    "Event": (
        Column("Last Seen", _last_seen, "date"),
        Column("Type", _at("type")),
        Column("Reason", _at("reason")),
        Column("Object", _involved),
        Column("Message", _at("message")),
    ),
    "Pod": (
        NAME,
        Column("Ready", _ready_containers),
        Column("Status", lambda obj: _at("status", "reason")(obj) or _at("status", "phase")(obj)),
        Column("Restarts", _restarts, "integer"),
        AGE,
    ),
    "Revision": (
        NAME,
        Column("Service", _at("metadata", "labels", "salver.dev/service")),
        Column("Component", _at("metadata", "labels", "salver.dev/component")),
        Column("Number", _at("spec", "number"), "integer"),
        Column("Ready", _ready),
        Column("Traffic", _at("status", "traffic"), "integer", "Percent of the requests"),
        AGE,
    ),
}
_COLUMNS["ClusterServingRuntime"] = _COLUMNS["ServingRuntime"]


def default_columns(type: ResourceType) -> Sequence[Column]:
    """The columns that the peers print for their types, and name and age for the others."""
    return _COLUMNS.get(type.kind, (NAME, AGE))


def table(
    objects: Iterable[JsonObject],
    columns: Sequence[Column],
    *,
    metadata: JsonObject,
    now: datetime,
    include: str = "Metadata",
) -> JsonObject:
    """The objects as rows; `include` is what each row carries: Metadata, Object or None."""
    return {
        "kind": "Table",
        "apiVersion": META,
        "metadata": metadata,
        "columnDefinitions": [_definition(column) for column in columns],
        "rows": [row(obj, columns, now, include) for obj in objects],
    }


def _definition(column: Column) -> JsonObject:
    return {
        "name": column.name,
        # Ages are made here, so that what is printed does not hang on the client's clock.
        "type": "string" if column.type == "date" else column.type,
        "format": "name" if column is NAME else "",
        "description": column.description or column.name,
        "priority": column.priority,
    }


def row(obj: JsonObject, columns: Sequence[Column], now: datetime, include: str) -> JsonObject:
    """One object in a table."""
    made: JsonObject = {"cells": [_cell(column, obj, now) for column in columns]}
    if include == "Object":
        made["object"] = obj
    elif include == "Metadata":
        made["object"] = partial(obj)
    return made


def partial(obj: JsonObject) -> JsonObject:
    """The object's metadata alone."""
    return {"kind": PARTIAL, "apiVersion": META, "metadata": obj["metadata"]}


def _cell(column: Column, obj: JsonObject, now: datetime) -> Any:
    value = column.value(obj)
    if column.type == "date":
        return age(value, now)
    if value is None:
        return ""
    return value if isinstance(value, str | int | float | bool) else str(value)


def age(created: Any, now: datetime) -> str:
    """The time since then in the two largest units that matter, as kubectl writes it."""
    try:
        seconds = int((now - datetime.fromisoformat(str(created))).total_seconds())
    except (ValueError, TypeError):
        return "<unknown>"
    seconds = max(0, seconds)
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if seconds < 120:
        return f"{seconds}s"
    if minutes < 10:
        return _two(minutes, "m", seconds % 60, "s")
    if hours < 3:
        return f"{minutes}m"
    if hours < 8:
        return _two(hours, "h", minutes % 60, "m")
    if hours < 48:
        return f"{hours}h"
    if days < 8:
        return _two(days, "d", hours % 24, "h")
    return f"{days}d" if days < 730 else f"{days // 365}y"


def _two(large: int, large_unit: str, small: int, small_unit: str) -> str:
    return f"{large}{large_unit}" + (f"{small}{small_unit}" if small else "")
