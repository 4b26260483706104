"""Resources as a server would have them, for the tests of the command line."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]

MANIFEST = """\
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata:
  name: iris
  labels: {team: flowers}
spec:
  predictor:
    minReplicas: 1
    model:
      modelFormat: {name: sklearn}
      storageUri: gs://kfserving-examples/models/sklearn/1.0/model
"""


def condition(type: str, status: str, reason: str = "", message: str = "") -> Json:
    found = {"type": type, "status": status, "lastTransitionTime": "2026-11-21T08:07:00Z"}
    return {
        **found,
        **({"reason": reason} if reason else {}),
        **({"message": message} if message else {}),
    }


def service(name: str = "iris", *conditions: Json, **extra: Any) -> Json:
    """An InferenceService whose second revision has a tenth of the traffic."""
    shown = conditions or (
        condition("LatestDeploymentReady", "True"),
        condition("PredictorReady", "True"),
        condition("Ready", "True"),
    )
    return {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {
            "name": name,
            "namespace": "default",
            "generation": 2,
            "labels": {"team": "flowers"},
            "creationTimestamp": "2026-11-21T08:00:00Z",
            **extra.pop("metadata", {}),
        },
        "spec": {
            "predictor": {
                "minReplicas": 1,
                "maxReplicas": 3,
                "scaleMetric": "concurrency",
                "scaleTarget": 10,
                "canaryTrafficPercent": 10,
                "batcher": {"maxBatchSize": 16, "maxLatency": 500},
                "logger": {"mode": "all", "url": "http://sink.example.com"},
                "model": {
                    "modelFormat": {"name": "sklearn", "version": "1"},
                    "runtimeVersion": "1.3.2",
                    "storageUri": "gs://kfserving-examples/models/sklearn/1.0/model",
                },
            },
            "transformer": {
                "containers": [{"image": "example.com/scaler:1", "command": ["python", "scale.py"]}]
            },
        },
        "status": {
            "observedGeneration": 2,
            "url": f"http://127.0.0.1:8080/serving/default/{name}",
            "components": {
                "predictor": {
                    "latestCreatedRevision": f"{name}-predictor-00002",
                    "latestReadyRevision": f"{name}-predictor-00002",
                    "latestRolledoutRevision": f"{name}-predictor-00001",
                    "previousRolledoutRevision": f"{name}-predictor-00001",
                    "traffic": [
                        {
                            "revisionName": f"{name}-predictor-00002",
                            "percent": 10,
                            "latestRevision": True,
                        },
                        {
                            "revisionName": f"{name}-predictor-00001",
                            "percent": 90,
                            "latestRevision": False,
                            "tag": "prev",
                        },
                    ],
                },
                "transformer": {
                    "latestCreatedRevision": f"{name}-transformer-00001",
                    "latestReadyRevision": f"{name}-transformer-00001",
                },
            },
            "conditions": list(shown),
            "modelStatus": {
                "transitionStatus": "UpToDate",
                "states": {"activeModelState": "Loaded", "targetModelState": "Loaded"},
                "copies": {"totalCopies": 2, "failedCopies": 0},
            },
        },
        **extra,
    }


def failed_service(name: str = "iris") -> Json:
    """One whose newest revision could not be loaded."""
    obj = service(
        name,
        condition("LatestDeploymentReady", "False", "Failed", "model.joblib: no such object"),
        condition("PredictorReady", "False", "RevisionFailed", "model.joblib: no such object"),
        condition("Ready", "False", "RevisionFailed", "model.joblib: no such object"),
    )
    obj["status"]["modelStatus"] = {
        "transitionStatus": "BlockedByFailedLoad",
        "states": {"activeModelState": "", "targetModelState": "FailedToLoad"},
        "copies": {"totalCopies": 0, "failedCopies": 1},
        "lastFailureInfo": {
            "reason": "ModelLoadFailed",
            "message": "model.joblib: no such object",
            "time": "2026-11-21T08:07:00Z",
            "modelRevisionName": f"{name}-predictor-00002",
        },
    }
    return obj


def event(name: str, reason: str, message: str, *, kind: str = "Normal", **extra: Any) -> Json:
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{name}.{reason.lower()}", "namespace": "default"},
        "involvedObject": {"kind": "InferenceService", "name": name},
        "type": kind,
        "reason": reason,
        "message": message,
        "lastTimestamp": "2026-11-21T08:05:00Z",
        **extra,
    }


def revision(name: str, number: int, uri: str, **spec: Any) -> Json:
    return {
        "apiVersion": "salver.dev/v1",
        "kind": "Revision",
        "metadata": {
            "name": f"{name}-predictor-{number:05d}",
            "namespace": "default",
            "labels": {"salver.dev/service": name, "salver.dev/component": "predictor"},
        },
        "spec": {
            "number": number,
            "digest": f"{number:016d}",
            "created": f"2026-11-21T07:{number:02d}:00Z",
            "plan": {"component": "predictor", "runner": {"type": "model", "uri": uri}},
            **spec,
        },
    }
