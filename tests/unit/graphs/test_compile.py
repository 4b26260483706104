"""From InferenceServices to what is to be served: components, traffic, batches, logs."""

from __future__ import annotations

import pytest
from tests.unit.graphs.manifests import desire_of, plan_of, resource

from salver.graphs.compile import is_pool
from salver.graphs.plan import BatchPolicy, LogPolicy, StickyPolicy
from salver.graphs.selection import PlanError

MODEL = "model: {modelFormat: {name: sklearn}, storageUri: gs://m/1}"
STEP = "{containers: [{name: kserve-container, image: x, command: [serve]}]}"


def refusal(spec: str, metadata: str = "{name: iris}") -> tuple[str, str]:
    with pytest.raises(PlanError) as caught:
        desire_of(spec, metadata)
    return caught.value.reason, str(caught.value)


def test_a_model_is_one_component_with_the_defaults_of_everything() -> None:
    desire = desire_of(f"{{predictor: {{{MODEL}}}}}")
    assert (desire.namespace, desire.name, desire.stopped) == ("default", "iris", False)
    (component,) = desire.components
    assert component.plan.component == "predictor"
    assert component.plan.batching is None
    assert component.plan.logging is None
    assert component.canary_percent is None
    assert not component.tag_routing
    assert desire.component("predictor") is component
    assert desire.component("explainer") is None


def test_equal_manifests_make_equal_digests_and_a_change_of_traffic_makes_no_other() -> None:
    first = plan_of(f"{{{MODEL}}}")
    assert plan_of(f"{{{MODEL}, canaryTrafficPercent: 10}}").digest == first.digest
    assert plan_of(f"{{{MODEL}, timeout: 3}}").digest != first.digest
    assert plan_of(f"{{{MODEL}, timeout: 3}}").timeout_s == 3.0


def test_a_transformer_and_an_explainer_are_components_of_their_own() -> None:
    desire = desire_of(
        f"{{predictor: {{{MODEL}}}, transformer: {STEP}, "
        "explainer: {annotations: {salver.dev/class: why.py:Why}}}"
    )
    assert [each.plan.component for each in desire.components] == [
        "predictor",
        "transformer",
        "explainer",
    ]
    explainer = desire.components[2].plan.runner
    assert (explainer.runtime, explainer.uri, explainer.attribute) == (
        "transformer",
        "why.py",
        "Why",
    )


def test_a_step_may_be_served_elsewhere() -> None:
    desire = desire_of(
        f"{{predictor: {{{MODEL}}}, "
        "transformer: {annotations: {salver.dev/url: 'http://10.0.0.7:8080'}}}"
    )
    assert desire.components[1].plan.runner.url == "http://10.0.0.7:8080"


def test_a_ready_made_explainer_says_what_to_write_instead() -> None:
    reason, text = refusal(
        f"{{predictor: {{{MODEL}}}, explainer: {{art: {{type: SquareAttack}}}}}}"
    )
    assert reason == "InvalidPredictorSpec"
    assert "salver.dev/class" in text


def test_the_annotations_of_a_component_win_over_the_services() -> None:
    metadata = (
        "{name: iris, annotations: {autoscaling.knative.dev/max-scale: '3', "
        "autoscaling.knative.dev/min-scale: '1'}}"
    )
    plan = plan_of(
        f"{{annotations: {{autoscaling.knative.dev/max-scale: '5'}}, {MODEL}}}", metadata
    )
    assert (plan.scaling.min_replicas, plan.scaling.max_replicas) == (1, 5)


def test_labels_of_service_and_component_are_the_plans() -> None:
    plan = plan_of(f"{{labels: {{b: '2'}}, {MODEL}}}", "{name: iris, labels: {a: '1', b: '1'}}")
    assert plan.labels == (("a", "1"), ("b", "2"))


def test_scaling_that_contradicts_itself_is_refused_and_what_is_unknown_is_noted() -> None:
    reason, text = refusal(
        f"{{predictor: {{annotations: {{autoscaling.knative.dev/window: 1s}}, {MODEL}}}}}"
    )
    assert reason == "InvalidPredictorSpec"
    assert "autoscaling.knative.dev/window is 1s" in text
    desire = desire_of(
        f"{{predictor: {{annotations: {{autoscaling.knative.dev/windw: 6s}}, {MODEL}}}}}"
    )
    assert desire.notes[0].startswith("annotation autoscaling.knative.dev/windw is unknown")


@pytest.mark.parametrize(("text", "stopped"), [("'true'", True), ("'True'", True), ("'no'", False)])
def test_stop_is_an_annotation(text: str, stopped: bool) -> None:
    metadata = f"{{name: iris, annotations: {{serving.kserve.io/stop: {text}}}}}"
    assert desire_of(f"{{predictor: {{{MODEL}}}}}", metadata).stopped is stopped


def test_tag_routing_is_an_annotation() -> None:
    metadata = "{name: iris, annotations: {serving.kserve.io/enable-tag-routing: 'true'}}"
    assert desire_of(f"{{predictor: {{{MODEL}}}}}", metadata).components[0].tag_routing


# Canaries and shadows.

CANARIES = f"""{{predictor: {{{MODEL}}}, canary: [
  {{trafficPercent: 20, predictor: {{name: a, {MODEL}}}}},
  {{predictor: {{name: b, {MODEL}, timeout: 9}}}}]}}"""


def shadowed(**annotations: str) -> str:
    listed = ", ".join(
        f"salver.dev/{key.replace('_', '-')}: '{each}'" for key, each in annotations.items()
    )
    return f"{{name: iris, annotations: {{{listed}}}}}"


def test_canaries_have_their_shares_and_plans() -> None:
    component = desire_of(CANARIES).components[0]
    assert component.canary_percent is None
    assert [(each.name, each.percent) for each in component.canaries] == [("a", 20), ("b", 0)]
    assert component.canaries[1].plan.timeout_s == 9
    assert component.shadow is None


def test_a_shadow_is_a_canary_that_gets_copies() -> None:
    component = desire_of(CANARIES, shadowed(shadow="b")).components[0]
    assert [each.name for each in component.canaries] == ["a"]
    assert component.shadow is not None
    assert (component.shadow.name, component.shadow.percent) == ("b", 100)
    component = desire_of(CANARIES, shadowed(shadow="b", shadow_percent="7")).components[0]
    assert component.shadow is not None
    assert component.shadow.percent == 7


@pytest.mark.parametrize("percent", ["101", "-1", "half", ""])
def test_the_percent_of_a_shadow_is_a_percent(percent: str) -> None:
    reason, text = refusal(CANARIES, shadowed(shadow="b", shadow_percent=percent))
    assert reason == "InvalidPredictorSpec"
    assert f"is '{percent}': write a number from 0 to 100" in text


def test_a_shadow_that_is_no_canary_names_those_there_are() -> None:
    assert "spec.canary has a, b; add it there" in refusal(CANARIES, shadowed(shadow="c"))[1]
    plain = f"{{predictor: {{{MODEL}}}}}"
    assert "spec.canary has no entry" in refusal(plain, shadowed(shadow="c"))[1]


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("header=X-User", StickyPolicy(header="x-user")),
        ("cookie=Session", StickyPolicy(cookie="Session")),
    ],
)
def test_callers_can_be_kept_by_header_or_cookie(text: str, policy: StickyPolicy) -> None:
    component = desire_of(CANARIES, shadowed(sticky=text)).components[0]
    assert component.sticky == policy


@pytest.mark.parametrize("text", ["header", "header=", "cookie=", "query=x"])
def test_what_callers_cannot_be_kept_by_is_refused(text: str) -> None:
    assert "write header=NAME or cookie=NAME" in refusal(CANARIES, shadowed(sticky=text))[1]


# Batcher and logger.


def test_a_batcher_has_kserves_defaults_and_units() -> None:
    assert plan_of(f"{{batcher: {{}}, {MODEL}}}").batching == BatchPolicy(32, 5.0, 0.0)
    told = "{maxBatchSize: 8, maxLatency: 500, timeout: 60}"
    assert plan_of(f"{{batcher: {told}, {MODEL}}}").batching == BatchPolicy(8, 0.5, 60.0)


def test_a_logger_has_a_sink_and_what_goes_with_each_event() -> None:
    logger = (
        "logger: {url: 'http://sink/', mode: request, metadataHeaders: [x-a], "
        "metadataAnnotations: [team, absent]}"
    )
    plan = plan_of(f"{{{logger}, {MODEL}}}", "{name: iris, annotations: {team: a}}")
    assert plan.logging == LogPolicy("http://sink/", "request", ("x-a",), (("team", "a"),))


@pytest.mark.parametrize("url", ["file:///var/log/x.jsonl", "file:///x.parquet", "https://sink"])
def test_sinks_that_can_be_written_to(url: str) -> None:
    assert plan_of(f"{{logger: {{url: '{url}'}}, {MODEL}}}").logging == LogPolicy(url, "all")


@pytest.mark.parametrize("url", ["file:///var/log/x.txt", "file:///x"])
def test_sinks_that_cannot_be_written_to(url: str) -> None:
    _, text = refusal(f"{{predictor: {{logger: {{url: '{url}'}}, {MODEL}}}}}")
    assert f"the logger's url '{url}' is no sink" in text


# Pools.


@pytest.mark.parametrize(
    ("predictor", "expected"),
    [
        ("{model: {modelFormat: {name: sklearn}}}", True),
        ("{sklearn: {protocolVersion: v2}}", True),
        (f"{{{MODEL}}}", False),
        ("{model: {modelFormat: {name: sklearn}, storage: {path: x}}}", False),
        (
            "{model: {modelFormat: {name: sklearn}, env: [{name: STORAGE_URI, value: gs://m}]}}",
            False,
        ),
        ("{model: {modelFormat: {name: something}}}", False),
        ("{containers: [{name: kserve-container, image: x}]}", False),
    ],
)
def test_a_service_without_a_model_is_there_for_trained_models(
    predictor: str, expected: bool
) -> None:
    text = (
        "{apiVersion: serving.kserve.io/v1beta1, kind: InferenceService, metadata: {name: iris}, "
        f"spec: {{predictor: {predictor}}}}}"
    )
    assert is_pool(resource(text)) is expected


def test_a_pool_has_no_components() -> None:
    desire = desire_of("{predictor: {sklearn: {protocolVersion: v2}}}")
    assert (desire.pooled, desire.components) == (True, ())
