"""InferenceService v1alpha2, field by field, and what of it has no effect.

Types only: what it is in v1beta1, and back, is `conversion.py`'s.
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


def lost_in_v1beta1(old: InferenceService) -> list[Finding]:
    """What v1beta1 cannot say and nobody acts on: paths in the old spec, and why."""
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
