"""The scale sub-resource: what it says of an object, how an InferenceService is scaled. Pure."""

from __future__ import annotations

from salver.control.resources import JsonObject
from salver.server.apis.ports import Scale


def scale_object(obj: JsonObject, scale: Scale) -> JsonObject:
    """The `Scale` of the object."""
    kept = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {key: obj["metadata"][key] for key in kept if key in obj["metadata"]},
        "spec": {"replicas": scale.replicas},
        "status": {"replicas": scale.present_replicas, "selector": scale.selector},
    }


class PredictorScaling:
    """Scaling of InferenceServices: the predictor's `minReplicas`."""

    def read(self, obj: JsonObject) -> Scale:
        predictor = (obj.get("spec") or {}).get("predictor") or {}
        states = (obj.get("status") or {}).get("modelStatus") or {}
        copies = states.get("copies") or {}
        replicas = predictor.get("minReplicas")
        return Scale(1 if replicas is None else int(replicas), int(copies.get("totalCopies") or 0))

    def write(self, obj: JsonObject, replicas: int) -> JsonObject:
        spec = obj.get("spec") or {}
        predictor = {**(spec.get("predictor") or {}), "minReplicas": replicas}
        most = predictor.get("maxReplicas")
        if isinstance(most, int) and 0 < most < replicas:
            predictor["maxReplicas"] = replicas
        return {**obj, "spec": {**spec, "predictor": predictor}}
