"""InferenceService v1alpha2, and what it is in v1beta1.

The old type has a `default` and a `canary` endpoint, each with its own predictor,
transformer and explainer, and `canaryTrafficPercent` between them. `to_v1beta1` makes the
default endpoint the spec, and the canary's predictor an entry of `canary[]`, named `canary`:
both are declared at once, so neither depends on what was applied before, which
`canaryTrafficPercent` of v1beta1 would. A canary's own transformer or explainer has no
counterpart and is reported.
"""

from __future__ import annotations

from typing import Annotated, Any

from salver.spec import kserve
from salver.spec.fields import Fields, about
from salver.spec.metadata import ObjectMeta
from salver.spec.pods import Container, ResourceRequirements
from salver.spec.problems import Finding

FRAMEWORKS = ("sklearn", "xgboost", "lightgbm", "onnx", "tensorflow", "pytorch", "triton", "pmml")
EXPLAINERS = ("alibi", "aix", "art")


class FrameworkSpec(Fields, frozen=True):
    """A model of one framework."""

    storage_uri: Annotated[str, about("where the model is", format="uri")]
    runtime_version: Annotated[str | None, about("version of the server or library")] = None
    resources: Annotated[ResourceRequirements | None, about("what it may take")] = None
    model_class_name: Annotated[str | None, about("class of a PyTorch model", inert=True)] = None
    parallelism: Annotated[int | None, about("requests a replica works on at once", least=0)] = None


class ExplainerMethod(Fields, frozen=True):
    """A ready-made explainer."""

    type: Annotated[str, about("the method, e.g. AnchorTabular")]
    storage_uri: Annotated[str | None, about("the trained explainer, if it has one")] = None
    runtime_version: Annotated[str | None, about("version of the explainer's server")] = None
    resources: Annotated[ResourceRequirements | None, about("what it may take")] = None
    config: Annotated[dict[str, str], about("arguments of the method")] = {}


class CustomSpec(Fields, frozen=True):
    """A container of one's own."""

    container: Annotated[Container, about("the container")]


class Logger(Fields, frozen=True):
    """Sends each payload as a CloudEvent to a sink."""

    url: Annotated[str | None, about("address of the sink")] = None
    mode: Annotated[kserve.LogMode, about("which payloads: all unless told")] = "all"


class DeploymentSpec(Fields, frozen=True):
    """What every component has."""

    custom: Annotated[CustomSpec | None, about("a container of one's own")] = None
    service_account_name: Annotated[str, about("whose credentials are used")] = ""
    min_replicas: Annotated[int | None, about("fewest replicas", least=0)] = None
    max_replicas: Annotated[int, about("most replicas; 0: as many as it takes", least=0)] = 0
    parallelism: Annotated[
        int | None, about("requests a replica works on at once, a hard limit", least=0)
    ] = None
    logger: Annotated[Logger | None, about("logs requests and responses")] = None
    batcher: Annotated[kserve.Batcher | None, about("joins requests into batches")] = None


class PredictorSpec(DeploymentSpec, frozen=True):
    """The component that answers predictions."""

    sklearn: Annotated[FrameworkSpec | None, about("a scikit-learn model")] = None
    xgboost: Annotated[FrameworkSpec | None, about("an XGBoost model")] = None
    lightgbm: Annotated[FrameworkSpec | None, about("a LightGBM model")] = None
    onnx: Annotated[FrameworkSpec | None, about("an ONNX model")] = None
    tensorflow: Annotated[FrameworkSpec | None, about("a TensorFlow model")] = None
    pytorch: Annotated[FrameworkSpec | None, about("a PyTorch model")] = None
    triton: Annotated[FrameworkSpec | None, about("a Triton repository")] = None
    pmml: Annotated[FrameworkSpec | None, about("a PMML model")] = None


class TransformerSpec(DeploymentSpec, frozen=True):
    """The component around the predictor."""


class ExplainerSpec(DeploymentSpec, frozen=True):
    """The component that explains predictions."""

    alibi: Annotated[ExplainerMethod | None, about("Alibi's methods")] = None
    aix: Annotated[ExplainerMethod | None, about("AI Explainability 360's methods")] = None
    art: Annotated[ExplainerMethod | None, about("adversarial robustness toolbox")] = None


class EndpointSpec(Fields, frozen=True):
    """A predictor and what is around it."""

    predictor: Annotated[PredictorSpec, about("serves the model")]
    transformer: Annotated[TransformerSpec | None, about("prepares requests")] = None
    explainer: Annotated[ExplainerSpec | None, about("explains predictions")] = None


class InferenceServiceSpec(Fields, frozen=True):
    """The default endpoint, and a canary that gets a share of the requests."""

    default: Annotated[EndpointSpec, about("the endpoint that gets the requests")]
    canary: Annotated[EndpointSpec | None, about("the endpoint that gets a share of them")] = None
    canary_traffic_percent: Annotated[
        int | None, about("the canary's share, in percent; 0 unless told", least=0, most=100)
    ] = None


class InferenceService(Fields, frozen=True):
    """The former version of InferenceService; it is read and kept as v1beta1."""

    metadata: Annotated[ObjectMeta, about("name, namespace, labels, annotations")]
    spec: Annotated[InferenceServiceSpec, about("what is to be served")]
    api_version: Annotated[str, about("group and version of the type")] = (
        "serving.kserve.io/v1alpha2"
    )
    kind: Annotated[str, about("name of the type")] = "InferenceService"
    status: Annotated[Any, about("set by the server")] = None


def to_v1beta1(old: InferenceService) -> kserve.InferenceService:
    """The same service in v1beta1; the module says what becomes of the canary."""
    default = old.spec.default
    return kserve.InferenceService(
        metadata=old.metadata,
        spec=kserve.InferenceServiceSpec(
            predictor=_predictor(default.predictor),
            transformer=_transformer(default.transformer),
            explainer=_explainer(default.explainer),
            canary=_canary(old.spec),
        ),
        status=old.status,
    )


def lost_in_v1beta1(old: InferenceService) -> list[Finding]:
    """What `to_v1beta1` leaves out: paths in the old spec, and why."""
    canary = old.spec.canary
    if canary is None:
        return []
    lost: list[Finding] = [
        (("spec", "canary", name), f"is left out: the default's {name} serves the canary too")
        for name in ("transformer", "explainer")
        if getattr(canary, name) not in (None, getattr(old.spec.default, name))
    ]
    lost += [
        (("spec", "canary", "predictor", name), "is left out: a canary scales as the default does")
        for field, name in (("min_replicas", "minReplicas"), ("max_replicas", "maxReplicas"))
        if getattr(canary.predictor, field)
    ]
    return lost


def _canary(spec: InferenceServiceSpec) -> tuple[kserve.CanarySpec, ...]:
    if spec.canary is None:
        return ()
    predictor = _predictor(spec.canary.predictor, name="canary", scales=False)
    return (kserve.CanarySpec(predictor, spec.canary_traffic_percent or 0),)


def _predictor(old: PredictorSpec, *, name: str = "", scales: bool = True) -> kserve.PredictorSpec:
    given = {each: spec for each in FRAMEWORKS if (spec := getattr(old, each)) is not None}
    models: dict[str, Any] = {each: _model(spec) for each, spec in given.items()}
    limits = (old.parallelism, *(spec.parallelism for spec in given.values()))
    concurrency = next((each for each in limits if each is not None), None)
    return kserve.PredictorSpec(
        name=name, **models, **_deployment(old, concurrency=concurrency, scales=scales)
    )


def _transformer(old: TransformerSpec | None) -> kserve.TransformerSpec | None:
    if old is None:
        return None
    return kserve.TransformerSpec(**_deployment(old, concurrency=old.parallelism))


def _explainer(old: ExplainerSpec | None) -> kserve.ExplainerSpec | None:
    if old is None:
        return None
    methods: dict[str, Any] = {
        each: _method(spec) for each in EXPLAINERS if (spec := getattr(old, each)) is not None
    }
    return kserve.ExplainerSpec(**methods, **_deployment(old, concurrency=old.parallelism))


def _model(old: FrameworkSpec) -> kserve.PredictorExtensionSpec:
    return kserve.PredictorExtensionSpec(
        storage_uri=old.storage_uri,
        runtime_version=old.runtime_version,
        resources=old.resources,
        model_class_name=old.model_class_name,
    )


def _method(old: ExplainerMethod) -> kserve.ExplainerExtensionSpec:
    return kserve.ExplainerExtensionSpec(
        type=old.type,
        storage_uri=old.storage_uri,
        runtime_version=old.runtime_version,
        resources=old.resources,
        config=old.config,
    )


def _deployment(
    old: DeploymentSpec, *, concurrency: int | None, scales: bool = True
) -> dict[str, Any]:
    logger = old.logger and kserve.LoggerSpec(url=old.logger.url, mode=old.logger.mode)
    fields: dict[str, Any] = {
        "containers": (old.custom.container,) if old.custom else (),
        "service_account_name": old.service_account_name,
        "container_concurrency": concurrency,
        "logger": logger,
        "batcher": old.batcher,
    }
    if scales:
        fields |= {"min_replicas": old.min_replicas, "max_replicas": old.max_replicas}
    return fields
