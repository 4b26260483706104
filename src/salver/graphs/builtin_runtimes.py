"""The serving runtimes that are there without being applied, under KServe's names.

Formats, versions, protocols and priorities are those of KServe's default
ClusterServingRuntimes, so that a manifest chooses here what it chooses there. What each
format runs in on this machine is `LOCAL_RUNTIMES`: one of Salver's own workers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache

from salver.spec.kserve import ClusterServingRuntime
from salver.spec.kserve_runtimes import (
    ProtocolVersion,
    ServingRuntimeSpec,
    SupportedModelFormat,
)
from salver.spec.metadata import ObjectMeta
from salver.spec.pods import Container

LOCAL_RUNTIMES: Mapping[str, str] = {
    "sklearn": "sklearn",
    "xgboost": "xgboost",
    "lightgbm": "lightgbm",
    "onnx": "onnx",
    "mlflow": "mlflow",
    "tensorflow": "tensorflow",
    "keras": "tensorflow",
    "tflite": "tflite",
    "pytorch": "torch",
    "pytorch-mar": "torch",
    "catboost": "catboost",
    "program": "program",
    "pmml": "pmml",
    "triton": "triton",
    "openvino_ir": "openvino",
    "openvino": "openvino",
    "huggingface": "huggingface",
    "python": "python",
    "custom": "python",
}
"""Model format to the salver runtime whose workers serve it."""

KNOWN_SERVERS: Sequence[tuple[str, str]] = (
    ("sklearnserver", "sklearn"),
    ("xgbserver", "xgboost"),
    ("lgbserver", "lightgbm"),
    ("mlserver", ""),
    ("tritonserver", ""),
    ("torchserve", "pytorch"),
    ("pmmlserver", "pmml"),
    ("huggingfaceserver", "huggingface"),
    ("tensorflow/serving", "tensorflow"),
    ("seldon-core-s2i", ""),
    ("onnxruntime", "onnx"),
)
"""Parts of the names of server images that a local worker stands in for, and the format each
serves; empty where the model's own format decides. One with a slash is the end of the name."""


def known_server(image: str) -> str | None:
    """The format of a known server's image, empty if it serves several, None if unknown."""
    folder, _, last = image.lower().rpartition("/")
    name = last.partition("@")[0].partition(":")[0]
    for part, format_name in KNOWN_SERVERS:
        if part in name or ("/" in part and f"/{folder}/{name}".endswith(f"/{part}")):
            return format_name
    return None


@cache
def builtin_runtimes() -> tuple[ClusterServingRuntime, ...]:
    """All of them."""
    return (
        _runtime("kserve-sklearnserver", ("v1", "v2"), [("sklearn", "1", 1)], "sklearnserver"),
        _runtime("kserve-xgbserver", ("v1", "v2"), [("xgboost", "2", 1)], "xgbserver"),
        _runtime("kserve-lgbserver", ("v1", "v2"), [("lightgbm", "4", 1)], "lgbserver"),
        _runtime(
            "kserve-mlserver",
            ("v2",),
            [
                ("sklearn", "0", 2),
                ("sklearn", "1", 2),
                ("xgboost", "1", 2),
                ("xgboost", "2", 2),
                ("lightgbm", "3", 2),
                ("lightgbm", "4", 2),
                ("mlflow", "1", 1),
                ("mlflow", "2", 1),
            ],
            "mlserver",
        ),
        _runtime(
            "kserve-tensorflow-serving",
            ("v1", "grpc-v1"),
            [("tensorflow", "1", 2), ("tensorflow", "2", 2)],
            "serving",
        ),
        _runtime(
            "kserve-pmmlserver", ("v1", "v2"), [("pmml", "3", 1), ("pmml", "4", 1)], "pmmlserver"
        ),
        _runtime(
            "kserve-huggingfaceserver", ("v1", "v2"), [("huggingface", "1", 1)], "huggingfaceserver"
        ),
        _runtime("kserve-torchserve", ("v1", "v2", "grpc-v2"), [("pytorch", "1", 2)], "torchserve"),
        _runtime(
            "kserve-tritonserver",
            ("v2", "grpc-v2"),
            [
                ("onnx", "1", 1),
                ("tensorflow", "1", 1),
                ("tensorflow", "2", 1),
                ("pytorch", "1", 0),
                ("pytorch", "2", 0),
                ("triton", "2", 1),
            ],
            "tritonserver",
        ),
        _runtime(
            "salver",
            ("v1", "v2", "grpc-v2"),
            [
                (name, version, 0)
                for name, versions in {
                    "sklearn": ("0", "1"),
                    "xgboost": ("1", "2", "3"),
                    "lightgbm": ("2", "3", "4"),
                    "onnx": ("1",),
                    "mlflow": ("1", "2", "3"),
                    "tensorflow": ("1", "2"),
                    "keras": ("1", "2", "3"),
                    "tflite": ("1", "2"),
                    "pytorch": ("1", "2"),
                    "catboost": ("1",),
                    "pmml": ("3", "4"),
                    "openvino_ir": ("opset1",),
                    "huggingface": ("1",),
                    "program": ("1",),
                    "python": ("1",),
                }.items()
                for version in versions
            ],
            "salver",
        ),
    )


def _runtime(
    name: str,
    protocols: tuple[ProtocolVersion, ...],
    formats: Sequence[tuple[str, str, int]],
    image: str,
) -> ClusterServingRuntime:
    supported = tuple(
        SupportedModelFormat(format_name, version, True, priority or None)
        for format_name, version, priority in formats
    )
    container = Container(name="kserve-container", image=f"kserve/{image}:latest")
    return ClusterServingRuntime(
        ObjectMeta(name=name, labels={"salver.dev/built-in": "true"}),
        ServingRuntimeSpec(
            containers=(container,), supported_model_formats=supported, protocol_versions=protocols
        ),
    )
