"""From Seldon Core v2's Models, Pipelines and Experiments to what is to be served. Pure.

A Model is a graph of one unit; an Experiment's candidates are its variants, called as their part
of `x-seldon-route`. Pipelines are `seldon_v2_pipeline.py`'s. An Experiment asks its candidates
themselves, past itself, although it answers to the name of one of them; `NAME.pipeline` as the
name of a service means the Pipeline of that name, where there is a Model of it too.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from salver.graphs.builtin_runtimes import LOCAL_RUNTIMES
from salver.graphs.compiling import with_compiling
from salver.graphs.flow import Edge, Flow, GraphDesire, GraphUnit, Service, Step, Unit, Variant
from salver.graphs.plan import ComponentPlan, ModelRunner, ScalingPolicy
from salver.graphs.seldon_v2_pipeline import compile_pipeline as compile_pipeline
from salver.graphs.selection import PlanError
from salver.spec.kinds import MLOPS
from salver.spec.problems import did_you_mean
from salver.spec.seldon_v2 import Experiment, Model, ModelSpec, Server, ServerConfig

MODEL_UNIT = "model"
"""What the one unit of a Model's graph is called."""
DEFAULT_CAPABILITIES: Mapping[str, tuple[str, ...]] = {
    "mlserver": (
        "mlserver",
        "alibi-detect",
        "alibi-explain",
        "huggingface",
        "lightgbm",
        "mlflow",
        "python",
        "sklearn",
        "spark-mlib",
        "xgboost",
    ),
    "triton": (
        "triton",
        "dali",
        "fil",
        "onnx",
        "openvino",
        "python",
        "pytorch",
        "tensorflow",
        "tensorrt",
    ),
}
"""The servers that are there without being applied, and what they are capable of."""
_CAPABILITIES = "SELDON_SERVER_CAPABILITIES"
_AGENT = "agent"
_SERVERS_THEMSELVES = ("mlserver", "triton", "python")


def compile_model(
    model: Model, servers: Sequence[Server] = (), configs: Sequence[ServerConfig] = ()
) -> GraphDesire:
    """What a Model wants. `servers` and `configs` are those applied. Raises `PlanError`."""
    spec, name = model.spec, model.metadata.name
    for field, part in (("explainer", spec.explainer), ("llm", spec.llm)):
        if part is not None:
            raise PlanError(
                "Unsupported",
                f"spec.{field} is not carried out by this version: remove it to serve the model "
                "by itself",
            )
    notes = [*_check_placement(spec, _offers(model, servers, configs))]
    plan = ComponentPlan(
        "predictor",
        with_compiling(_runner(spec), model.metadata.annotations),
        scaling=_scaling(spec),
        labels=tuple(sorted(model.metadata.labels.items())),
    )
    flow = Flow(name, (Step(name, Unit(MODEL_UNIT), path="spec"),), (Edge(name),))
    return GraphDesire(
        resource=(MLOPS, "models"),
        namespace=model.metadata.namespace or "default",
        name=name,
        variants=(Variant(name, flow),),
        units=(GraphUnit(MODEL_UNIT, plan),),
        exposes_unit=MODEL_UNIT,
        default_protocol="v2",
        notes=tuple(notes),
    )


def compile_experiment(experiment: Experiment) -> GraphDesire:
    """What an Experiment wants."""
    spec, metadata = experiment.spec, experiment.metadata
    total = sum(each.weight for each in spec.candidates)
    namespace, kind = metadata.namespace or "default", spec.resource_type
    variants = tuple(
        Variant(
            _called(each.name, kind),
            _candidate(namespace, each.name, kind, f"spec.candidates[{number}]"),
            100.0 * each.weight / total,
        )
        for number, each in enumerate(spec.candidates)
    )
    mirror = spec.mirror
    return GraphDesire(
        resource=(MLOPS, "experiments"),
        namespace=namespace,
        name=metadata.name,
        variants=variants,
        shadow=Variant(
            _called(mirror.name, kind), _candidate(namespace, mirror.name, kind, "spec.mirror")
        )
        if mirror is not None
        else None,
        shadow_percent=float(mirror.percent) if mirror is not None else 100.0,
        tells_route=True,
        addresses=(
            f"model:{metadata.name}.experiment",
            *((f"name:{_called(spec.default, kind)}",) if spec.default is not None else ()),
        ),
        default_protocol="v2",
    )


def _candidate(namespace: str, name: str, kind: str, path: str) -> Flow:
    """The flow that only asks the Model or Pipeline."""
    service = Service(namespace, _called(name, kind))
    return Flow(name, (Step(name, service, as_request="raw", path=path),), (Edge(name),))


def _called(name: str, kind: str) -> str:
    """What a candidate is called among all that have names."""
    return f"{name}.pipeline" if kind == "pipeline" else name


def _runner(spec: ModelSpec) -> ModelRunner:
    """The artifact; what it is, it says itself: requirements name servers as well as formats."""
    uri = spec.storage_uri
    if spec.artifact_version is not None:
        uri = f"{uri.rstrip('/')}/{spec.artifact_version}"
    parameters = {each.name: each.value for each in spec.parameters}
    return ModelRunner(
        uri=uri,
        format=next((each for each in _requirements(spec) if each in LOCAL_RUNTIMES), ""),
        options=msgspec.json.encode(parameters, order="deterministic").decode()
        if parameters
        else "",
    )


def _requirements(spec: ModelSpec) -> tuple[str, ...]:
    """A model's type is one more requirement."""
    more = (spec.model_type,) if spec.model_type else ()
    return tuple(dict.fromkeys((*spec.requirements, *more)))


def _scaling(spec: ModelSpec) -> ScalingPolicy:
    """A fixed number of replicas, unless bounds are given; never fewer than one, as with Seldon."""
    count = max(1, spec.replicas if spec.replicas is not None else 1)
    if not spec.min_replicas and not spec.max_replicas:
        return ScalingPolicy(min_replicas=count, max_replicas=count)
    return ScalingPolicy(
        min_replicas=max(1, spec.min_replicas or 1),
        max_replicas=spec.max_replicas or 0,
        initial_scale=count if spec.replicas is not None else -1,
    )


# Which server a model could be placed on.


def _offers(
    model: Model, servers: Sequence[Server], configs: Sequence[ServerConfig]
) -> Mapping[str, frozenset[str]]:
    """What each server of the namespace is capable of, by name."""
    namespace = model.metadata.namespace or "default"
    found = {name: frozenset(each) for name, each in DEFAULT_CAPABILITIES.items()}
    for server in servers:
        if (server.metadata.namespace or "default") == namespace:
            spec = server.spec
            own = spec.capabilities or _capabilities(spec.server_config, configs)
            found[server.metadata.name] = frozenset((*own, *spec.extra_capabilities))
    return found


def _capabilities(name: str, configs: Sequence[ServerConfig]) -> tuple[str, ...]:
    """What servers of a ServerConfig are capable of: its agent's variable says so."""
    for config in configs:
        if config.metadata.name == name:
            for container in config.spec.pod_spec.containers:
                for variable in container.env:
                    if container.name == _AGENT and variable.name == _CAPABILITIES:
                        return tuple(each.strip() for each in variable.value.split(","))
    return DEFAULT_CAPABILITIES.get(name, ())


def _check_placement(spec: ModelSpec, offers: Mapping[str, frozenset[str]]) -> Iterator[str]:
    """Notes on where it is placed. Raises `PlanError` if no server would take it."""
    wanted = _requirements(spec)
    if spec.server is not None and spec.server not in offers:
        raise PlanError(
            "NoSupportingRuntime",
            f"there is no Server '{spec.server}' (there are {', '.join(sorted(offers))})"
            + (did_you_mean(spec.server, offers) or "; apply it, or remove spec.server"),
        )
    asked = {spec.server: offers[spec.server]} if spec.server is not None else offers
    best = min(asked, key=lambda name: (len(set(wanted) - asked[name]), name))
    missing = [each for each in wanted if each not in asked[best]]
    if missing:
        raise PlanError("NoSupportingRuntime", _nobody(missing, best, offers))
    formats = [each for each in wanted if each not in _SERVERS_THEMSELVES]
    unserved = [each for each in formats if each not in LOCAL_RUNTIMES]
    if unserved:
        yield (
            f"spec.requirements: '{unserved[0]}' has no runtime of its own here; the artifact is "
            f"served if it is one of {', '.join(sorted(LOCAL_RUNTIMES))}"
        )


def _nobody(missing: Sequence[str], best: str, offers: Mapping[str, frozenset[str]]) -> str:
    known = sorted({each for offer in offers.values() for each in offer})
    hints = [did_you_mean(each, known).removeprefix("; ") for each in missing]
    hint = next((each for each in hints if each), "")
    return (
        f"no Server can take the model: '{best}' comes closest and lacks "
        f"{', '.join(repr(each) for each in missing)}; "
        + (hint or "apply a Server with these extraCapabilities, or change spec.requirements")
    )
