from typing import Any

import pytest

from salver.graphs.plan import ScalingPolicy
from salver.graphs.scaling import KNATIVE, ScalingReading, duration_s, scaling_policy

KSERVE = "serving.kserve.io/"


def read(**knative: str) -> ScalingReading:
    """Knative's annotations, underscores standing for hyphens."""
    return scaling_policy({KNATIVE + key.replace("_", "-"): text for key, text in knative.items()})


def test_nothing_said_means_the_defaults() -> None:
    assert scaling_policy({}) == ScalingReading(ScalingPolicy(), (), ())


@pytest.mark.parametrize(
    ("key", "text", "field", "value"),
    [
        ("min-scale", "3", "min_replicas", 3),
        ("minScale", "3", "min_replicas", 3),
        ("max-scale", "7", "max_replicas", 7),
        ("maxScale", "7", "max_replicas", 7),
        ("initial-scale", "0", "initial_scale", 0),
        ("initialScale", "2", "initial_scale", 2),
        ("activation-scale", "5", "activation_scale", 5),
        ("target", "0.5", "target", 0.5),
        ("target-utilization-percentage", "80", "target_utilization_percent", 80),
        ("targetUtilizationPercentage", "80", "target_utilization_percent", 80),
        ("target-burst-capacity", "-1", "target_burst_capacity", -1),
        ("targetBurstCapacity", "0", "target_burst_capacity", 0),
        ("window", "40s", "stable_window_s", 40),
        ("panic-window-percentage", "20.0", "panic_window_percent", 20),
        ("panicWindowPercentage", "20.0", "panic_window_percent", 20),
        ("panic-threshold-percentage", "150", "panic_threshold_percent", 150),
        ("panicThresholdPercentage", "150", "panic_threshold_percent", 150),
        ("scale-down-delay", "15m", "scale_down_delay_s", 900),
        ("scaleDownDelay", "1m30s", "scale_down_delay_s", 90),
        ("scale-to-zero-pod-retention-period", "1m5s", "scale_to_zero_retention_s", 65),
        ("scaleToZeroPodRetentionPeriod", "500ms", "scale_to_zero_retention_s", 0.5),
        ("metric", "rps", "metric", "rps"),
    ],
)
def test_an_annotation_sets_its_knob_in_either_spelling(
    key: str, text: str, field: str, value: Any
) -> None:
    policy, problems, notes = scaling_policy({KNATIVE + key: text})
    assert (getattr(policy, field), problems, notes) == (value, (), ())


def test_where_both_spellings_are_given_the_one_with_hyphens_counts() -> None:
    both = {KNATIVE + "minScale": "2", KNATIVE + "min-scale": "4"}
    assert scaling_policy(both).policy.min_replicas == 4


def test_what_knative_has_for_a_cluster_a_service_may_have_for_itself() -> None:
    policy, problems, _ = scaling_policy(
        {
            "salver.dev/scale-to-zero-grace-period": "5s",
            "salver.dev/max-scale-up-rate": "2",
            "salver.dev/max-scale-down-rate": "1.5",
        }
    )
    assert not problems
    assert (policy.scale_to_zero_grace_s, policy.max_scale_up_rate) == (5.0, 2.0)
    assert policy.max_scale_down_rate == 1.5


@pytest.mark.parametrize(
    ("knative", "problem"),
    [
        ({"min_scale": "one"}, "annotation K/min-scale is 'one': give a whole number in quotes"),
        ({"min_scale": "1.5"}, "annotation K/min-scale is '1.5': give a whole number in quotes"),
        ({"min_scale": "-1"}, "annotation K/min-scale is -1: it must be at least 0"),
        ({"activation_scale": "0"}, "annotation K/activation-scale is 0: it must be at least 1"),
        ({"target": "nan"}, "annotation K/target is 'nan': give a number in quotes"),
        ({"target": "0"}, "annotation K/target is 0: it must be at least 0.01"),
        (
            {"target_utilization_percentage": "101"},
            "annotation K/target-utilization-percentage is 101: it must be 1 to 100",
        ),
        (
            {"target_burst_capacity": "-2"},
            "annotation K/target-burst-capacity is -2: it must be at least 0",
        ),
        ({"window": "5s"}, "annotation K/window is 5s: it must be 6s to 3600s"),
        ({"window": "6500ms"}, "annotation K/window is 6500ms: give whole seconds"),
        (
            {"window": "60"},
            "annotation K/window is '60': give a duration, such as 60s or 1m30s, in quotes",
        ),
        ({"scale_down_delay": "-5s"}, "annotation K/scale-down-delay is -5s: it must be 0s to"),
        (
            {"panic_threshold_percentage": "100"},
            "annotation K/panic-threshold-percentage is 100: it must be 110 to 1000",
        ),
        (
            {"metric": "latency"},
            "annotation K/metric is 'latency': it must be one of concurrency, rps, cpu, memory",
        ),
        ({"class": "keda"}, "annotation K/class is 'keda': it must be kpa.autoscaling.knative.dev"),
        (
            {"class": "kpa.autoscaling.knative.dev", "metric": "cpu"},
            "annotation K/metric is cpu, which the kpa autoscaler does not have: use concurrency",
        ),
        (
            {"class": "hpa.autoscaling.knative.dev", "metric": "rps"},
            "annotation K/metric is rps, which the hpa autoscaler does not have: use cpu or memory",
        ),
        (
            {"min_scale": "5", "max_scale": "3"},
            "minReplicas is 5, above maxReplicas, which is 3: raise maxReplicas or lower",
        ),
        (
            {"activation_scale": "5", "max_scale": "3"},
            "annotation K/activation-scale is 5, above maxReplicas, which is 3: lower it",
        ),
    ],
)
def test_a_wrong_annotation_is_named_with_what_it_may_be(
    knative: dict[str, str], problem: str
) -> None:
    _, problems, _ = read(**knative)
    assert len(problems) == 1
    assert problems[0].replace(KNATIVE, "K/").startswith(problem)


def test_all_problems_are_told_at_once() -> None:
    reading = scaling_policy(
        {KNATIVE + "window": "1s", KNATIVE + "target": "x", KSERVE + "autoscalerClass": "vpa"},
        min_replicas=-1,
        container_concurrency=1001,
        scale_target=0,
    )
    assert len(reading.problems) == 6
    assert reading.policy == ScalingPolicy()


def test_fields_win_over_annotations() -> None:
    annotations = {KNATIVE + "min-scale": "1", KNATIVE + "target": "5", KNATIVE + "metric": "rps"}
    policy, problems, _ = scaling_policy(annotations, 2, 4, 50, "concurrency", 10)
    assert not problems
    assert policy == ScalingPolicy(
        min_replicas=2,
        max_replicas=4,
        metric="concurrency",
        target=50.0,
        container_concurrency=10,
    )


def test_an_unknown_annotation_is_noted_with_the_nearest_known_one() -> None:
    _, problems, notes = read(min_scal="1")
    assert not problems
    assert notes == (
        f"annotation {KNATIVE}min-scal is unknown and has no effect; "
        f"did you mean {KNATIVE}min-scale?",
    )


def test_other_annotations_are_no_concern_of_scaling() -> None:
    assert scaling_policy({"example.com/team": "x", "prometheus.io/port": "1"}).notes == ()


# KServe's own annotations.


def test_the_hpa_class_means_cpu_and_a_maximum_of_minreplicas() -> None:
    policy, problems, notes = scaling_policy({KSERVE + "autoscalerClass": "hpa"}, 2)
    assert (problems, notes) == ((), ())
    assert (policy.metric, policy.min_replicas, policy.max_replicas) == ("cpu", 2, 2)


def test_hpa_metric_and_target_by_annotation() -> None:
    policy, _, _ = scaling_policy(
        {
            KSERVE + "autoscalerClass": "hpa",
            KSERVE + "metrics": "memory",
            KSERVE + "targetUtilizationPercentage": "60",
        },
        1,
        5,
    )
    assert (policy.metric, policy.target, policy.max_replicas) == ("memory", 60.0, 5)


def test_by_cpu_nothing_scales_to_zero() -> None:
    policy, _, notes = scaling_policy({}, 0, 5, None, "cpu")
    assert (policy.metric, policy.min_replicas) == ("cpu", 1)
    assert notes == ("minReplicas 0 is raised to 1: autoscaling by cpu cannot scale to zero",)


def test_a_raw_deployment_scales_by_cpu_unless_it_names_another() -> None:
    raw = {KSERVE + "deploymentMode": "RawDeployment"}
    assert scaling_policy(raw, 1, 3).policy.metric == "cpu"
    assert scaling_policy(raw, 1, 3, None, "rps").policy.metric == "rps"
    assert scaling_policy({**raw, KSERVE + "autoscalerClass": "kpa"}).policy.metric == "concurrency"


@pytest.mark.parametrize("name", ["external", "none"])
def test_without_an_autoscaler_replicas_stay_at_the_minimum(name: str) -> None:
    policy, problems, notes = scaling_policy({KSERVE + "autoscalerClass": name}, 3, 9)
    assert (policy.min_replicas, policy.max_replicas, problems) == (3, 3, ())
    assert notes == (f"annotation {KSERVE}autoscalerClass {name}: replicas stay at minReplicas",)


def test_target_utilization_is_a_share_of_the_target_where_requests_are_counted() -> None:
    policy, _, _ = scaling_policy({KSERVE + "targetUtilizationPercentage": "50"})
    assert (policy.target_utilization_percent, policy.target) == (50.0, 0.0)


@pytest.mark.parametrize("text", ["0", "101", "x", "5.5"])
def test_a_wrong_target_utilization_is_a_problem(text: str) -> None:
    assert len(scaling_policy({KSERVE + "targetUtilizationPercentage": text}).problems) == 1


def test_what_is_done_in_another_way_than_on_a_cluster_is_noted() -> None:
    _, problems, notes = scaling_policy(
        {
            KSERVE + "autoscalerClass": "keda",
            KNATIVE + "metric-aggregation-algorithm": "weightedExponential",
        }
    )
    assert not problems
    assert notes == (
        f"annotation {KSERVE}autoscalerClass keda: the HPA's algorithm is used, as KEDA does",
        f"annotation {KNATIVE}metric-aggregation-algorithm: values are averaged linearly",
    )
    assert read(metric_aggregation_algorithm="linear").notes == ()


# Durations.


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("60s", 60.0),
        ("1m30s", 90.0),
        ("1h", 3600.0),
        ("1.5h", 5400.0),
        (".5s", 0.5),
        ("1h15m30.5s", 4530.5),
        ("300ms", 0.3),
        ("5us", 5e-6),
        ("5µs", 5e-6),
        ("7ns", 7e-9),
        ("0", 0.0),
        ("-0", 0.0),
        ("-1m", -60.0),
        ("+2s", 2.0),
    ],
)
def test_durations_are_read_as_go_reads_them(text: str, seconds: float) -> None:
    assert duration_s(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "60", "s", "1x", "1s2", "1m-5s", " 1s", "1 s", "--1s", "."])
def test_what_is_no_duration_to_go_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no duration"):
        duration_s(text)
