"""InferenceServices between v1beta1, as they are kept, and v1alpha2, as JSON.

The old type has a `default` and a `canary` endpoint, each with its own predictor,
transformer and explainer, and `canaryTrafficPercent` between them. The default endpoint is the
spec, the canary's predictor an entry of `canary[]`, named `canary`: both are declared at once,
so neither depends on what was applied before, which `canaryTrafficPercent` of v1beta1 would.

What v1alpha2 says and v1beta1 cannot stays in the annotation `WRITTEN`, so that it is shown
again as it was written; what v1beta1 says and v1alpha2 cannot stays when an object is changed
through v1alpha2. Objects are taken to be valid: reading them is `read.py`'s.
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from salver.spec import v1alpha2
from salver.spec.fields import fields_of, shape_of
from salver.spec.kinds import KSERVE, KUBEFLOW
from salver.spec.v1alpha2 import EXPLAINERS, FRAMEWORKS

JsonObject = dict[str, Any]

WRITTEN = "salver.dev/v1alpha2"
"""Annotation: the spec as it was written, and of which spec it is the other form."""

_V1BETA1 = "serving.kserve.io/v1beta1"
_CANARY = "canary"
_AROUND: dict[str, type[msgspec.Struct]] = {
    "transformer": v1alpha2.TransformerSpec,
    "explainer": v1alpha2.ExplainerSpec,
}


def is_former(api_version: str) -> bool:
    """Whether it is the version that differs from the one that is kept: of InferenceServices."""
    group, _, version = api_version.rpartition("/")
    return version == "v1alpha2" and group in (KSERVE, KUBEFLOW)


def converted(obj: JsonObject, api_version: str) -> JsonObject:
    """An object, as it is kept, in another of its type's versions."""
    if obj.get("kind") == "InferenceService" and is_former(api_version):
        return from_v1beta1(obj, api_version)
    return {**obj, "apiVersion": api_version}


def to_v1beta1(obj: JsonObject) -> JsonObject:
    """The v1alpha2 object in v1beta1; what that cannot say is in the annotation."""
    return _with_written({**obj, "apiVersion": _V1BETA1, "spec": _spec(obj["spec"])}, obj["spec"])


def from_v1beta1(obj: JsonObject, api_version: str = "serving.kserve.io/v1alpha2") -> JsonObject:
    """The v1beta1 object as far as v1alpha2 can say it."""
    metadata = obj["metadata"]
    spec = _former_spec(obj.get("spec") or {})
    note = (metadata.get("annotations") or {}).get(WRITTEN)
    if note is not None:
        spec = _written_spec(note, spec) or spec
        metadata = _annotated(metadata, None)
    return {**obj, "apiVersion": api_version, "metadata": metadata, "spec": spec}


def changed_through(old: JsonObject, given: JsonObject) -> JsonObject:
    """The kept object `old` after a client of v1alpha2 has made `given` of what it saw of it.

    Only what the client changed changes: fields that v1alpha2 does not have stay.
    """
    seen = _spec(from_v1beta1(old)["spec"])
    wanted = _spec(given["spec"])
    kept = old.get("spec") or {}
    spec = _changed(kept, _like(kept, seen), _like(kept, wanted))
    return _with_written({**given, "apiVersion": _V1BETA1, "spec": spec}, given["spec"])


# To v1beta1.


def _spec(former: JsonObject) -> JsonObject:
    spec = _endpoint(former["default"])
    canary = former.get("canary")
    if canary is not None:
        predictor = _component(canary["predictor"])
        for name in ("minReplicas", "maxReplicas"):
            # A canary scales as the default does.
            predictor.pop(name, None)
        entry: JsonObject = {"predictor": {"name": _CANARY, **predictor}}
        if former.get("canaryTrafficPercent") is not None:
            entry["trafficPercent"] = former["canaryTrafficPercent"]
        spec["canary"] = [entry]
    return spec


def _endpoint(former: JsonObject) -> JsonObject:
    names = ("predictor", *_AROUND)
    return {name: _component(former[name]) for name in names if former.get(name) is not None}


def _component(former: JsonObject) -> JsonObject:
    spec = {name: value for name, value in former.items() if value is not None}
    custom = spec.pop("custom", None)
    if custom is not None:
        spec["containers"] = [custom["container"]]
    concurrency = spec.pop("parallelism", None)
    for name in FRAMEWORKS:
        if name in spec:
            spec[name] = dict(spec[name])
            own = spec[name].pop("parallelism", None)
            concurrency = own if concurrency is None else concurrency
    if concurrency is not None:
        spec["containerConcurrency"] = concurrency
    return spec


# From v1beta1.


def _former_spec(spec: JsonObject) -> JsonObject:
    default = {"predictor": _former_component(spec.get("predictor"), v1alpha2.PredictorSpec)}
    for name, struct in _AROUND.items():
        if spec.get(name) is not None:
            default[name] = _former_component(spec[name], struct)
    former: JsonObject = {"default": default}
    entries = spec.get("canary")
    if entries:
        entry = entries[0]
        predictor = _former_component(entry.get("predictor"), v1alpha2.PredictorSpec)
        former["canary"] = {"predictor": predictor}
        if entry.get("trafficPercent") is not None:
            former["canaryTrafficPercent"] = entry["trafficPercent"]
    return former


def _former_component(spec: Any, struct: type[msgspec.Struct]) -> JsonObject:
    spec = dict(spec or {})
    model = spec.pop("model", None)
    name = _format_of(model)
    if name in FRAMEWORKS:
        spec[name] = model
    containers = spec.pop("containers", None)
    if containers and not any(each in spec for each in (*FRAMEWORKS, *EXPLAINERS)):
        spec["custom"] = {"container": containers[0]}
    if spec.get("containerConcurrency") is not None:
        spec["parallelism"] = spec["containerConcurrency"]
    known: JsonObject = _known(spec, struct)
    return known


def _format_of(model: Any) -> str:
    return str((model.get("modelFormat") or {}).get("name", "")) if model is not None else ""


def _known(value: Any, struct: type[msgspec.Struct]) -> Any:
    """What of a value the fields of the type can say."""
    if not isinstance(value, dict):
        return value
    fields = {field.name: field for field in fields_of(struct)}
    known = {}
    for name, inner in value.items():
        if name in fields and inner is not None:
            shape = shape_of(fields[name].type)
            known[name] = _known(inner, shape.item) if shape.kind == "struct" else inner
    return known


# What is left over.


def _with_written(obj: JsonObject, former_spec: JsonObject) -> JsonObject:
    """The v1beta1 object with what v1alpha2 wrote, where the one does not give the other."""
    seen = _former_spec(obj["spec"])
    note = None
    if seen != former_spec:
        note = msgspec.json.encode({"of": _digest(seen), "spec": former_spec}).decode()
    return {**obj, "metadata": _annotated(obj["metadata"], note)}


def _annotated(metadata: JsonObject, note: str | None) -> JsonObject:
    given = metadata.get("annotations")
    annotations = {name: text for name, text in (given or {}).items() if name != WRITTEN}
    if note is not None:
        annotations[WRITTEN] = note
    if annotations == (given or {}):
        return metadata
    kept = {name: value for name, value in metadata.items() if name != "annotations"}
    return {**kept, "annotations": annotations} if annotations else kept


def _written_spec(note: str, seen: JsonObject) -> JsonObject | None:
    """What was written, if the object has not been changed through another version since."""
    try:
        found = msgspec.json.decode(note)
        is_current = found["of"] == _digest(seen)
    except (msgspec.DecodeError, KeyError, TypeError):
        return None
    return found.get("spec") if is_current else None


def _digest(value: JsonObject) -> str:
    text = msgspec.json.encode(value, order="deterministic")
    return hashlib.sha256(text).hexdigest()[:16]


# Changes.


def _like(kept: JsonObject, spec: JsonObject) -> JsonObject:
    """The spec with its models under the names that `kept` has for them: `model`, perhaps."""
    spec = {**spec, "predictor": _with_model(kept.get("predictor"), spec["predictor"])}
    if spec.get("canary") and kept.get("canary"):
        (entry,), before = spec["canary"], kept["canary"][0]
        predictor = _with_model(before.get("predictor"), entry["predictor"])
        spec["canary"] = [{**entry, "predictor": predictor}]
    return spec


def _with_model(kept: Any, predictor: JsonObject) -> JsonObject:
    model = (kept or {}).get("model")
    name = _format_of(model)
    if model is None or name not in predictor:
        return predictor
    others = {key: value for key, value in predictor.items() if key != name}
    return {**others, "model": {"modelFormat": model["modelFormat"], **predictor[name]}}


def _changed(kept: Any, seen: Any, wanted: Any) -> Any:
    """`kept` with the difference between `seen` and `wanted`, of which `kept` may have more."""
    if seen == wanted:
        return kept
    if isinstance(kept, dict) and isinstance(seen, dict) and isinstance(wanted, dict):
        result = {key: each for key, each in kept.items() if key in wanted or key not in seen}
        for key, each in wanted.items():
            result[key] = _changed(kept.get(key), seen.get(key), each)
        return {key: each for key, each in result.items() if each is not None}
    if isinstance(kept, list) and isinstance(seen, list) and isinstance(wanted, list):
        both = zip(kept, seen, wanted, strict=False)
        return [
            *(_changed(*each) for each in both),
            *wanted[len(seen) :],
            *kept[len(seen) :],
        ]
    return wanted
