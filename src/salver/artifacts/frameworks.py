"""Which packages bring a runtime's framework, at which version, and beside what of its time.

Owns the tables and the reading of requirement lines. Knows no file and no manifest.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

FRAMEWORKS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "sklearn": ("scikit-learn",),
        "xgboost": ("xgboost-cpu", "xgboost"),
        "lightgbm": ("lightgbm",),
        "onnx": ("onnxruntime", "onnxruntime-gpu"),
        "mlflow": ("mlflow-skinny", "mlflow"),
        "torch": ("torch",),
        "huggingface": ("transformers",),
        "openvino": ("openvino",),
        "tensorflow": ("tensorflow-cpu", "tensorflow"),
        "tflite": ("ai-edge-litert",),
        "catboost": ("catboost",),
    }
)
"""The distributions that bring a runtime's framework, the usual one first."""
COMPANIONS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "sklearn": ("joblib", "pandas"),
        "xgboost": ("joblib",),
        "lightgbm": ("joblib",),
        "mlflow": ("pandas",),
        "torch": ("safetensors",),
        "huggingface": ("torch", "safetensors", "pillow"),
        "tensorflow": ("keras",),
    }
)
"""What the runtime itself imports beside the framework: pickles, and frames of named columns."""
DISTRIBUTIONS: Mapping[str, str] = MappingProxyType(
    {
        "catboost": "catboost",
        "category_encoders": "category-encoders",
        "feature_engine": "feature-engine",
        "imblearn": "imbalanced-learn",
        "lightgbm": "lightgbm",
        "statsmodels": "statsmodels",
    }
)
"""What brings a module that pickles name. Other modules are nobody's to install by a guess."""
_PACKAGES_OF_THE_TIME: tuple[tuple[str, str, str], ...] = (
    ("mlflow-skinny", "2.16", "setuptools<81"),
    ("mlflow", "2.16", "setuptools<81"),
)
"""Before that version of a framework: what it imports, which every environment had at its time."""
_ERAS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("scikit-learn", "1.3", ("numpy<1.25", "scipy<1.11", "pandas<2.1", "joblib<1.3")),
    ("scikit-learn", "1.4", ("numpy<2", "scipy<1.12", "pandas<2.2", "joblib<1.4")),
    ("scikit-learn", "1.5", ("scipy<1.14", "pandas<3")),
    ("scikit-learn", "1.7", ("scipy<1.16", "pandas<3")),
    ("scikit-learn", "1.8", ("pandas<3",)),
    ("xgboost", "2.1", ("numpy<2", "scipy<1.14", "pandas<3", "scikit-learn<1.6")),
    ("xgboost", "3.0", ("scikit-learn<1.7",)),
    ("lightgbm", "4.4", ("numpy<2", "pandas<3", "scikit-learn<1.6")),
    ("onnxruntime", "1.19", ("numpy<2",)),
    ("torch", "2.3", ("numpy<2",)),
    ("ai-edge-litert", "1.2", ("numpy<2",)),
    ("catboost", "1.2.7", ("numpy<2", "scipy<1.14", "pandas<3")),
)
"""Before that version of a framework: what it was written against, whose successors it may
not know, though its own metadata allows them. The first row that fits holds."""
_OLDEST_XGBOOST_CPU = (2, 1, 1)
_OLDEST_XGBOOST = Version("1.7")
LAST_BINARY_XGBOOST = Version("3.1")
"""The first that does not read the old binary format any more."""


def bounds_of_the_time(packages: Iterable[str]) -> tuple[str, ...]:
    """Upper bounds for what old frameworks bring with them, unless they are pinned already."""
    lines = list(packages)
    pins = {name.removesuffix("-cpu"): version for name, version in pinned(lines).items()}
    bounds: dict[str, str] = {}
    for framework in dict.fromkeys(each[0] for each in _ERAS):
        version = pins.get(framework)
        if version is None:
            continue
        fitting = (era for era in _ERAS if era[0] == framework and version < Version(era[1]))
        for bound in next(fitting, ("", "", ()))[2]:
            bounds.setdefault(name_of(bound), bound)
    specified = {name_of(line) for line in lines if re.search(r"[<>=~@]", line)}
    return tuple(bound for name, bound in bounds.items() if name not in specified)


def packages_of_the_time(packages: Iterable[str]) -> tuple[str, ...]:
    """What old frameworks of these lines import without saying so."""
    pins = pinned(packages)
    return tuple(
        line
        for name, before, line in _PACKAGES_OF_THE_TIME
        if name in pins and pins[name] < Version(before)
    )


def framework_at(runtime: str, version: str) -> str:
    """The line for a runtime's framework at that version, whole (`1.3.2`) or not (`1.3`)."""
    return (
        xgboost_at(version)
        if runtime == "xgboost"
        else f"{FRAMEWORKS[runtime][0]}=={_pin(version)}"
    )


def xgboost_at(version: str) -> str:
    """XGBoost at that version, without the GPU code where there is such a package."""
    newest_of_it = (*Version(version).release, 99, 99)[:3]
    name = "xgboost-cpu" if newest_of_it >= _OLDEST_XGBOOST_CPU else "xgboost"
    return f"{name}=={_pin(version)}"


def binary_xgboost(version: Version | None) -> str:
    """An XGBoost that still reads the old binary format: the one that wrote it, if it can be."""
    if version is None or version >= LAST_BINARY_XGBOOST:
        return "xgboost-cpu>=2.1.1,<3.1"
    if version < _OLDEST_XGBOOST:
        return f"xgboost=={_OLDEST_XGBOOST}.*"
    return xgboost_at(f"{version.release[0]}.{version.release[1]}")


def _pin(version: str) -> str:
    return version if version.count(".") >= 2 else f"{version}.*"


def pinned(packages: Iterable[str]) -> dict[str, Version]:
    """The versions of those packages that are pinned to one."""
    found: dict[str, Version] = {}
    for line in packages:
        match = re.match(r"([\w.-]+)\s*==\s*([\w.]+?)(?:\.\*)?\s*(?:;|\Z)", line)
        version = parsed(match[2]) if match else None
        if match and version is not None:
            found[canonicalize_name(match[1])] = version
    return found


def names_of(packages: Iterable[str]) -> set[str]:
    """The canonical names of the packages in these lines."""
    return {name_of(line) for line in packages}


def name_of(line: str) -> str:
    """The canonical name of the package in a requirement line."""
    return canonicalize_name(re.split(r"[\s<>=!~;\[@(]", line.strip(), maxsplit=1)[0])


def parsed(version: str) -> Version | None:
    """The version, None if the text is none."""
    try:
        return Version(version)
    except InvalidVersion:
        return None
