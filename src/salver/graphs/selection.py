"""Which serving runtime serves a model: KServe's rules. Pure.

A named runtime must exist, be enabled, and support the model's format and protocol.
Without a name: runtimes of the namespace first, then those of the cluster; enabled,
speaking the protocol, supporting the format (and its version, if one is given) with
`autoSelect`; of several, the one with the highest priority for the format, then the newest,
then the first by name.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from salver.spec.kserve import ClusterServingRuntime, ModelFormat, ServingRuntime
from salver.spec.kserve_runtimes import ProtocolVersion, ServingRuntimeSpec, SupportedModelFormat

Runtime = ServingRuntime | ClusterServingRuntime


class PlanError(Exception):
    """A manifest that is well formed and cannot be carried out.

    `reason` is one of KServe's: InvalidPredictorSpec, NoSupportingRuntime,
    RuntimeNotRecognized, RuntimeDisabled.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Wanted(msgspec.Struct, frozen=True):
    """What a model asks of a runtime."""

    format: ModelFormat
    protocol: ProtocolVersion = "v1"
    namespace: str = "default"
    runtime: str = ""


def select_runtime(wanted: Wanted, runtimes: Sequence[Runtime]) -> Runtime:
    """The runtime that serves it. Raises `PlanError` with the reason and what would help."""
    visible = [each for each in runtimes if _is_visible(each, wanted.namespace)]
    if wanted.runtime:
        return _named(wanted, visible)
    for scope in (ServingRuntime, ClusterServingRuntime):
        found = [
            each for each in visible if isinstance(each, scope) and _may_be_chosen(each, wanted)
        ]
        if found:
            return min(found, key=lambda each: _rank(each, wanted.format))
    raise PlanError("NoSupportingRuntime", _nothing_found(wanted, visible))


def _is_visible(runtime: Runtime, namespace: str) -> bool:
    if isinstance(runtime, ClusterServingRuntime):
        return True
    return (runtime.metadata.namespace or "default") == namespace


def _named(wanted: Wanted, visible: Sequence[Runtime]) -> Runtime:
    found = [each for each in visible if each.metadata.name == wanted.runtime]
    if not found:
        raise PlanError(
            "RuntimeNotRecognized",
            f"there is no runtime '{wanted.runtime}' (there are {_names(visible)}); apply it, or "
            "leave out 'runtime' to have one chosen",
        )
    # A namespace's own runtime hides the cluster's of the same name.
    runtime = min(found, key=lambda each: isinstance(each, ClusterServingRuntime))
    if runtime.spec.disabled:
        raise PlanError("RuntimeDisabled", f"runtime '{wanted.runtime}' is disabled")
    if not any(_supports(each, wanted.format) for each in runtime.spec.supported_model_formats):
        raise PlanError(
            "NoSupportingRuntime",
            f"runtime '{wanted.runtime}' does not support {_shown(wanted.format)}: it supports "
            f"{_formats(runtime.spec)}",
        )
    if wanted.protocol not in _protocols(runtime.spec):
        raise PlanError(
            "NoSupportingRuntime",
            f"runtime '{wanted.runtime}' does not speak protocol {wanted.protocol}: it speaks "
            f"{', '.join(_protocols(runtime.spec))}",
        )
    return runtime


def _may_be_chosen(runtime: Runtime, wanted: Wanted) -> bool:
    spec = runtime.spec
    return (
        not spec.disabled
        and not spec.multi_model
        and wanted.protocol in _protocols(spec)
        and any(
            each.auto_select and _supports(each, wanted.format)
            for each in spec.supported_model_formats
        )
    )


def _supports(supported: SupportedModelFormat, wanted: ModelFormat) -> bool:
    """By name; by version too if the model names one."""
    return supported.name == wanted.name and (
        wanted.version is None or supported.version == wanted.version
    )


def _rank(runtime: Runtime, wanted: ModelFormat) -> tuple[int, str, str]:
    """Smallest first: priority, then age (newest first), then name."""
    priorities = [
        each.priority or 0
        for each in runtime.spec.supported_model_formats
        if each.auto_select and _supports(each, wanted)
    ]
    created = runtime.metadata.creation_timestamp or ""
    newest_first = "".join(chr(0x10FFFF - ord(letter)) for letter in created)
    return -max(priorities), newest_first, runtime.metadata.name


def _protocols(spec: ServingRuntimeSpec) -> tuple[ProtocolVersion, ...]:
    return spec.protocol_versions or ("v1",)


def _nothing_found(wanted: Wanted, visible: Sequence[Runtime]) -> str:
    """Why no runtime fits, by the nearest miss."""
    enabled = [each for each in visible if not each.spec.disabled]
    of_name = [
        each
        for each in enabled
        if any(have.name == wanted.format.name for have in each.spec.supported_model_formats)
    ]
    what = f"no runtime supports {_shown(wanted.format)} over protocol {wanted.protocol}"
    if not of_name:
        known = sorted(
            {have.name for each in enabled for have in each.spec.supported_model_formats}
        )
        return f"{what}: known formats are {', '.join(known) or 'none'}; apply a ServingRuntime"
    details = "; ".join(
        f"{each.metadata.name} has {_formats(each.spec)} over {', '.join(_protocols(each.spec))}"
        for each in of_name
    )
    return f"{what}: {details}"


def _formats(spec: ServingRuntimeSpec) -> str:
    return ", ".join(
        f"{each.name}:{each.version}" if each.version else each.name
        for each in spec.supported_model_formats
    )


def _shown(wanted: ModelFormat) -> str:
    version = f" version {wanted.version}" if wanted.version else ""
    return f"model format '{wanted.name}'{version}"


def _names(runtimes: Iterable[Runtime]) -> str:
    return ", ".join(sorted({each.metadata.name for each in runtimes})) or "none"
