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
    "pytorch": "torch",
    "pytorch-mar": "torch",
    "catboost": "catboost",
    "program": "program",
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
    ("seldon-core-s2i", ""),
    ("onnxruntime", "onnx"),
)
"""Parts of the names of server images that a local worker stands in for, and the format each
serves; empty where the model's own format decides."""


def known_server(image: str) -> str | None:
    """The format of a known server's image, empty if it serves several, None if unknown."""
    name = image.rsplit("/", 1)[-1].partition("@")[0].partition(":")[0].lower()
    for part, format_name in KNOWN_SERVERS:
        if part in name:
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
        _runtime("kserve-torchserve", ("v1", "v2", "grpc-v2"), [("pytorch", "1", 2)], "torchserve"),
        _runtime(
            "kserve-tritonserver",
            ("v2", "grpc-v2"),
            [("onnx", "1", 1), ("pytorch", "1", 0), ("pytorch", "2", 0)],
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
                    "pytorch": ("1", "2"),
                    "catboost": ("1",),
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
