"""`salver explain`: the texts, the ways to name a field, and what is said of unknown ones."""

import pytest

from salver.errors import ResourceNotFound
from salver.spec.explain import explain

BATCHER = """\
GROUP:      serving.kserve.io
KIND:       InferenceService
VERSION:    v1beta1

FIELD: batcher <Batcher>

DESCRIPTION:
    Joins requests into batches.
    Joins V1 requests into batches before they reach the component.

FIELDS:
  maxBatchSize <integer>
    Instances in one batch; 32 unless told. At least 0.

  maxLatency <integer>
    Milliseconds a request waits for others; 5000 unless told. At least 0.

  timeout <integer>
    Seconds a batch may take. At least 0.
"""


def test_a_field_is_explained_with_its_own_fields() -> None:
    assert explain("isvc.spec.predictor.batcher") == BATCHER


@pytest.mark.parametrize(
    "path",
    [
        "InferenceService.spec.predictor.batcher",
        "inferenceservices.spec.predictor.Batcher",
        "ISVC.spec.canary[].predictor.batcher",
    ],
)
def test_kinds_and_fields_go_by_several_names(path: str) -> None:
    assert explain(path) == BATCHER


def test_a_plain_field_has_a_type_a_description_and_its_choices() -> None:
    text = explain("isvc.spec.predictor.logger.mode")
    assert "FIELD: mode <string>\n" in text
    assert "One of: all, request, response." in text
    assert "FIELDS" not in text


def test_required_fields_bounds_and_fields_without_effect_are_marked() -> None:
    assert "modelFormat <ModelFormat> -required-" in explain("isvc.spec.predictor.model")
    predictor = explain("isvc.spec.predictor")
    assert "From 0 to 100." in predictor
    assert (
        "nodeSelector <map[string]string>\n    Labels of the node. It has no meaning" in predictor
    )
    assert "containers <[]Container>" in predictor


def test_recursive_shows_the_whole_tree() -> None:
    text = explain("tm", recursive=True)
    assert "  spec <TrainedModelSpec> -required-\n    inferenceService <string> -required-" in text
    assert "      storageUri <string> -required-" in text


def test_an_older_version_can_be_asked_for() -> None:
    assert "canary <EndpointSpec>" in explain("isvc.spec", api_version="serving.kserve.io/v1alpha2")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("isvc.spec.predictor.bacher", "isvc.spec.predictor has no field 'bacher'; "
         "did you mean 'batcher'?"),
        ("isvx.spec", "there is no kind 'isvx'; did you mean 'isvc'?"),
        ("isvc.spec.predictor.timeout.x", "isvc.spec.predictor.timeout has no fields, so no 'x'"),
        ("isvc.spec.zzz", "isvc.spec has no field 'zzz'; it has predictor, transformer, "
         "explainer, canary"),
    ],
)  # fmt: skip
def test_what_is_not_there_is_answered_with_what_is(path: str, message: str) -> None:
    with pytest.raises(ResourceNotFound) as caught:
        explain(path)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("ig.spec.nodes.steps.condition", "FIELD: condition <string>"),
        ("sdep.spec.predictors.graph.children.children", "FIELD: children <[]PredictiveUnit>"),
        ("pipeline.spec.steps.inputsJoinType", "One of: inner, outer, any."),
        ("experiment.spec.mirror.percent", "From 0 to 100."),
        ("graph.spec.steps.when", "  branch <Object> -required-"),
    ],
)
def test_every_dialect_of_graphs_is_explained(path: str, line: str) -> None:
    assert line in explain(path)


def test_no_kind_at_all_lists_the_kinds() -> None:
    with pytest.raises(ResourceNotFound, match=r"known: .*inferenceservice, .*trainedmodel"):
        explain("")


def test_a_version_that_is_not_served_is_refused() -> None:
    with pytest.raises(ResourceNotFound, match="known: v1beta1, v1alpha2"):
        explain("isvc", api_version="serving.kserve.io/v7")
