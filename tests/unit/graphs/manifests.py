"""Desires out of manifests as people write them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml

from salver.graphs.builtin_runtimes import builtin_runtimes
from salver.graphs.compile import compile_inference_service
from salver.graphs.plan import ComponentPlan, ServiceDesire
from salver.graphs.selection import Runtime
from salver.spec.kserve import InferenceService
from salver.spec.read import parse_object


def resource(text: str) -> Any:
    """The resource in a manifest, which must be readable, if not right in all."""
    parsed = parse_object(yaml.safe_load(text))
    assert parsed.resource is not None, [str(each) for each in parsed.problems]
    return parsed.resource


def desire_of(spec: str, metadata: str = "{name: iris}", *runtimes: Runtime) -> ServiceDesire:
    """What an InferenceService with that `spec` wants, the built-in runtimes being there."""
    service = resource(
        "apiVersion: serving.kserve.io/v1beta1\nkind: InferenceService\n"
        f"metadata: {metadata}\nspec: {spec}"
    )
    assert isinstance(service, InferenceService)
    return compile_inference_service(service, [*runtimes, *builtin_runtimes()])


def plan_of(
    predictor: str, metadata: str = "{name: iris}", runtimes: Sequence[Runtime] = ()
) -> ComponentPlan:
    """The plan of a predictor."""
    return desire_of(f"{{predictor: {predictor}}}", metadata, *runtimes).components[0].plan
