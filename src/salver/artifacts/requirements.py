"""Decides which Python packages a model needs: by its manifest, its files or its own bytes.

The sources, strongest first: the manifest's own list; files beside the model
(`requirement_files.py`); `runtimeVersion`; the versions that the model file records
(`recorded.py`). A weaker source only adds the framework if a stronger one leaves it out. If
the server's own environment has what is asked for, no other one is needed, which is the
quickest. Nothing here is executed or installed; problems of the packages show when an
environment is made.
"""

from __future__ import annotations

import importlib.metadata
import re
import sys
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import msgspec
from packaging.requirements import InvalidRequirement, Requirement
from packaging.version import Version

from salver.artifacts.frameworks import (
    COMPANIONS,
    DISTRIBUTIONS,
    FRAMEWORKS,
    LAST_BINARY_XGBOOST,
    binary_xgboost,
    bounds_of_the_time,
    framework_at,
    name_of,
    names_of,
    packages_of_the_time,
    parsed,
    xgboost_at,
)
from salver.artifacts.recorded import Recorded, recorded_in
from salver.artifacts.requirement_files import requirements_beside
from salver.inference.requirements import Requirements

RECORDED = "recorded in the model"
"""The `origin` of what was chosen by the versions in the model file itself."""

_VERSION = re.compile(r"\d+(?:\.\d+){0,2}(?:\.post\d+|rc\d+)?\Z")
_OLDEST_SKLEARN = Version("1.1.3")
"""The first with packages for Python 3.11, which is the oldest that Salver runs on."""

Installed = Callable[[str], str]
"""The version of a distribution in the server's own environment, empty if it has none."""


class _Case(msgspec.Struct, frozen=True):
    """What a decision depends on, beside the packages asked for."""

    runtime: str
    runtime_version: str
    recorded: Recorded
    installed: Installed
    python_version: str


def installed_version(name: str) -> str:
    """`Installed` of the process that asks."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def requirements_of(
    path: Path,
    runtime: str,
    *,
    runtime_version: str = "",
    declared: Requirements | None = None,
    installed: Installed = installed_version,
    python_version: str = "",
) -> Requirements:
    """The packages for the model at `path`; none if the server's own environment will do.

    `python_version` is the server's, this process's by default. Raises `ArtifactError` for a
    file beside the model that cannot be understood.
    """
    case = _Case(
        runtime,
        runtime_version,
        recorded_in(path),
        installed,
        python_version or ".".join(str(each) for each in sys.version_info[:3]),
    )
    chosen = declared if declared is not None and declared.is_needed else _beside(path)
    if chosen is not None:
        return _completed(chosen, case)
    return _chosen_here(case)


def own_substitute(needed: Requirements, installed: Installed = installed_version) -> str:
    """What the server has in place of the framework that a model records: name and version.

    Empty if it has none, or if a person has asked for the packages and not the model.
    """
    if needed.origin != RECORDED or not needed.packages:
        return ""
    name = name_of(needed.packages[0])
    own = _version_of(name, installed)
    shown = "xgboost" if name in FRAMEWORKS["xgboost"] else name
    return f"the server's own {shown} {own} in place of {needed.packages[0]}" if own else ""


def _chosen_here(case: _Case) -> Requirements:
    """By `runtimeVersion`, else by what the model records."""
    notes: tuple[str, ...] = ()
    if case.runtime_version:
        line, note = _by_runtime_version(case.runtime, case.runtime_version)
        if line:
            origin = f"runtimeVersion {case.runtime_version}"
            case = msgspec.structs.replace(case, runtime_version="")
            return _completed(Requirements((line,), origin=origin), case)
        notes = (note,)
    packages, note = _by_record(case)
    notes += (note,) if note else ()
    if not packages:
        return Requirements(origin=RECORDED if note else "", notes=notes)
    return _with_company(Requirements(packages, origin=RECORDED, notes=notes), case)


def _beside(path: Path) -> Requirements | None:
    """What the files beside the model say; a numbered version may have them one level up."""
    folder = path if path.is_dir() else path.parent
    found = requirements_beside(folder)
    if found is None and folder.name.isdigit():
        found = requirements_beside(folder.parent)
    return found if found is not None and found.is_needed else None


def _completed(chosen: Requirements, case: _Case) -> Requirements:
    """A list of packages with the framework in it; or none, if the server has all of them."""
    packages, notes = chosen.packages, chosen.notes
    framework = FRAMEWORKS.get(case.runtime, ())
    if framework and not names_of(packages) & set(framework):
        line, note = "", ""
        if case.runtime_version:
            line, note = _by_runtime_version(case.runtime, case.runtime_version)
        packages += (line or _as_recorded(case) or framework[0],)
        notes += (note,) if note else ()
    elif case.runtime_version:
        notes += (f"runtimeVersion {case.runtime_version} has no effect: {chosen.origin} decides",)
    chosen = msgspec.structs.replace(chosen, packages=packages, notes=notes)
    is_python = chosen.python_is_preferred or _is_python(chosen.python, case.python_version)
    if is_python and _has_all(packages, case.installed):
        return Requirements(origin=chosen.origin, notes=notes)
    return _with_company(chosen, case)


def _with_company(chosen: Requirements, case: _Case) -> Requirements:
    """Adds what the runtime and the model's own modules need, and bounds of their time."""
    recorded = case.recorded
    wanted = list(COMPANIONS.get(case.runtime, ()))
    if recorded.is_skops:
        wanted.append("skops")
    if case.runtime == "sklearn" and "xgboost" in recorded.modules:
        wanted.append(xgboost_at(recorded.xgboost) if recorded.xgboost else "xgboost-cpu")
    wanted += [DISTRIBUTIONS[each] for each in recorded.modules if each in DISTRIBUTIONS]
    if "numpy._core" in recorded.modules:
        wanted.append("numpy>=2")
    wanted += packages_of_the_time(chosen.packages)
    names = names_of(chosen.packages)
    if names & set(FRAMEWORKS["xgboost"]):
        names |= set(FRAMEWORKS["xgboost"])
    packages = (*chosen.packages, *(line for line in wanted if name_of(line) not in names))
    constraints = chosen.constraints + bounds_of_the_time(packages)
    return msgspec.structs.replace(chosen, packages=packages, constraints=constraints)


def _by_runtime_version(runtime: str, version: str) -> tuple[str, str]:
    """The framework's line at that version; or none and the reason, for an image's tag."""
    if runtime not in FRAMEWORKS:
        return "", f"runtimeVersion {version} has no effect on the runtime '{runtime}'"
    if not _VERSION.match(version) or version.split(".")[0] == "0":
        name = FRAMEWORKS[runtime][-1 if runtime == "xgboost" else 0]
        return "", f"runtimeVersion {version} is no version of {name}: it chooses no packages"
    return framework_at(runtime, version), ""


def _by_record(case: _Case) -> tuple[tuple[str, ...], str]:
    """Packages, if what the model records is too far from what the server has; and a note."""
    recorded = case.recorded
    if recorded.scikit_learn:
        return _by_sklearn_record(recorded.scikit_learn, case.installed)
    own = parsed(_version_of("xgboost", case.installed))
    version = parsed(recorded.xgboost)
    if recorded.is_xgboost_binary:
        can_read = own is not None and own < LAST_BINARY_XGBOOST
        return (() if can_read else (binary_xgboost(version),)), ""
    if version is None or not _is_too_far(version, own, is_object=case.runtime == "sklearn"):
        return (), ""
    line = xgboost_at(recorded.xgboost)
    return ((line, "scikit-learn") if case.runtime == "sklearn" else (line,)), ""


def _is_too_far(version: Version, own: Version | None, *, is_object: bool) -> bool:
    """XGBoost reads the boosters of older versions, but not the Python objects around them."""
    if own is None:
        return True
    if is_object:
        return version.release[:2] != own.release[:2]
    return version.release[:2] > own.release[:2]


def _by_sklearn_record(text: str, installed: Installed) -> tuple[tuple[str, ...], str]:
    """Releases of one minor version read each other's pickles; nothing else is promised."""
    version, own = parsed(text), parsed(installed("scikit-learn"))
    if version is None or version.is_prerelease:
        return (), f"scikit-learn {text} is no release: the server's own is used"
    if own is not None and own.release[:2] == version.release[:2]:
        return (), ""
    if version < _OLDEST_SKLEARN:
        return (), (
            f"it was saved by scikit-learn {text}, which has no package for Python 3.11 or "
            "newer: the server's own is used; save it again with a newer one"
        )
    return (framework_at("sklearn", text),), ""


def _as_recorded(case: _Case) -> str:
    """The framework as the model records it, empty if it does not or cannot be had."""
    recorded = case.recorded
    if case.runtime == "sklearn" and recorded.scikit_learn:
        packages, _ = _by_sklearn_record(recorded.scikit_learn, lambda _: "")
        return "".join(packages)
    if case.runtime == "xgboost" and recorded.is_xgboost_binary:
        return binary_xgboost(parsed(recorded.xgboost))
    if case.runtime == "xgboost" and recorded.xgboost:
        return xgboost_at(recorded.xgboost)
    return ""


def _is_python(wanted: str, own: str) -> bool:
    return not wanted or own.split(".")[:2] == wanted.split(".")[:2]


def _has_all(packages: Iterable[str], installed: Installed) -> bool:
    """Whether the server's own environment satisfies every line."""
    return all(map(partial(_has, installed=installed), packages))


def _has(line: str, installed: Installed) -> bool:
    try:
        requirement = Requirement(line)
    except InvalidRequirement:
        return False
    if requirement.marker is not None and not requirement.marker.evaluate():
        return True
    version = _version_of(requirement.name, installed)
    if requirement.url or requirement.extras or not version:
        return False
    return requirement.specifier.contains(version, prereleases=True)


def _version_of(name: str, installed: Installed) -> str:
    if name_of(name) in FRAMEWORKS["xgboost"]:
        return installed("xgboost-cpu") or installed("xgboost")
    return installed(name)
