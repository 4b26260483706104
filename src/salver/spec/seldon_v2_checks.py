"""What contradicts what within Seldon v2's Models, Servers and Experiments. Pure.

`check_seldon_v2` is the entrance for all of its kinds; Pipelines are `pipeline_checks.py`'s.
"""

from __future__ import annotations

from collections.abc import Iterator

from salver.spec.checks import check_pod, check_uri
from salver.spec.pipeline_checks import check_pipeline
from salver.spec.problems import Finding, Path, did_you_mean, quoted
from salver.spec.seldon_v2 import Experiment, Model, ModelSpec, Scaling, Server, ServerConfig
from salver.spec.seldon_v2_pipeline import Pipeline
from salver.spec.steps import count_fault, known_text, served_name_fault


def check_seldon_v2(resource: object) -> Iterator[Finding]:
    """All contradictions of a resource of Seldon v2; nothing for any other."""
    if isinstance(resource, Model):
        yield from _check_model(resource.spec)
    elif isinstance(resource, Pipeline):
        yield from check_pipeline(resource)
    elif isinstance(resource, Experiment):
        yield from _check_experiment(resource)
    elif isinstance(resource, Server):
        yield from _check_scaling(resource.spec)
    elif isinstance(resource, ServerConfig):
        yield from check_pod(resource.spec.pod_spec, ("spec", "podSpec"))


def _check_model(spec: ModelSpec) -> Iterator[Finding]:
    yield from check_uri(spec.storage_uri, ("spec", "storageUri"))
    yield from _check_scaling(spec)
    for number, each in enumerate(spec.requirements):
        if not each.strip():
            yield ("spec", "requirements", number), "must not be empty: e.g. sklearn"
    if spec.explainer is not None and spec.llm is not None:
        yield ("spec", "llm"), "contradicts 'explainer'; keep one of the two"
    for field, part in (("explainer", spec.explainer), ("llm", spec.llm)):
        if part is not None and part.model_ref and part.pipeline_ref:
            yield ("spec", field, "pipelineRef"), "contradicts 'modelRef'; keep one of the two"
    names: set[str] = set()
    for number, parameter in enumerate(spec.parameters):
        if parameter.name in names:
            path: Path = ("spec", "parameters", number, "name")
            yield path, f"{quoted(parameter.name)} is a parameter already; remove one of the two"
        names.add(parameter.name)


def _check_scaling(spec: Scaling) -> Iterator[Finding]:
    count, least, most = spec.replicas, spec.min_replicas, spec.max_replicas
    if least is not None and most and least > most:
        yield ("spec", "minReplicas"), f"is {least}, more than maxReplicas, which is {most}"
    if count is not None and least is not None and count < least:
        yield ("spec", "replicas"), f"is {count}, less than minReplicas, which is {least}"
    if count is not None and most and count > most:
        yield ("spec", "replicas"), f"is {count}, more than maxReplicas, which is {most}"


def _check_experiment(experiment: Experiment) -> Iterator[Finding]:
    spec = experiment.spec
    path: Path = ("spec", "candidates")
    if not spec.candidates:
        yield path, f"is required: the {spec.resource_type}s that share the requests"
    if message := count_fault(len(spec.candidates), "candidates"):
        yield path, message
        return
    names: dict[str, int] = {}
    for number, each in enumerate(spec.candidates):
        if not each.name:
            yield (*path, number, "name"), f"must not be empty: the {spec.resource_type}'s name"
        elif fault := served_name_fault(each.name):
            yield (*path, number, "name"), fault
        elif each.name in names:
            first = names[each.name]
            yield (
                (*path, number, "name"),
                f"{quoted(each.name)} is a candidate already, spec.candidates[{first}]",
            )
        names.setdefault(each.name, number)
    if spec.candidates and not sum(each.weight for each in spec.candidates):
        yield path, "have no weight at all: give one of them a weight over 0"
    if spec.default is not None and names and spec.default not in names:
        known = known_text([*filter(None, names)])
        yield (
            ("spec", "default"),
            f"{quoted(spec.default)} is none of the candidates ({known})"
            + (did_you_mean(spec.default, names) or "; add it there"),
        )
    if spec.mirror is not None and not spec.mirror.name:
        yield ("spec", "mirror", "name"), f"must not be empty: the {spec.resource_type}'s name"
    elif spec.mirror is not None and (message := served_name_fault(spec.mirror.name)):
        yield ("spec", "mirror", "name"), message
