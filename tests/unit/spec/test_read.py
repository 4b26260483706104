"""Reading manifests and objects: what comes back, what is noted, what is put right."""

from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from salver.spec.kserve import InferenceService
from salver.spec.read import find_duplicates, parse_object, read_manifests

GOOD = sorted((Path(__file__).parents[2] / "manifests" / "kserve").glob("*.yaml"))


def service(predictor: str) -> str:
    """An InferenceService whose predictor is that YAML; its first line is line 7."""
    head = "apiVersion: serving.kserve.io/v1beta1\nkind: InferenceService\n"
    indented = "".join(f"    {line}\n" for line in predictor.splitlines())
    return f"{head}metadata:\n  name: iris\nspec:\n  predictor:\n{indented}"


def lines(text: str) -> list[str]:
    return [str(problem) for problem in read_manifests(text, "isvc.yaml").problems]


@pytest.mark.parametrize("path", GOOD, ids=[path.stem for path in GOOD])
def test_manifests_as_kserve_documents_them_have_no_problems(path: Path) -> None:
    reading = read_manifests(path.read_text(), path.name)
    assert reading.problems == ()
    assert reading.manifests


@pytest.mark.parametrize("path", GOOD, ids=[path.stem for path in GOOD])
def test_an_object_reads_as_its_text_did(path: Path) -> None:
    for manifest in read_manifests(path.read_text(), path.name).manifests:
        parsed = parse_object(manifest.object)
        assert parsed.problems == ()
        assert parsed.resource == manifest.resource
        assert parse_object(parsed.object).resource == manifest.resource


def test_a_manifest_knows_its_place_and_type() -> None:
    text = f"# first\n---\n{service('sklearn: {storageUri: gs://b/m}')}"
    (manifest,) = read_manifests(text, "isvc.yaml").manifests
    assert (manifest.source, manifest.line, manifest.name) == ("isvc.yaml", 3, "iris")
    assert manifest.type.plural == "inferenceservices"
    assert isinstance(manifest.resource, InferenceService)
    assert manifest.resource.spec.predictor.sklearn.storage_uri == "gs://b/m"
    assert manifest.object["spec"]["predictor"]["sklearn"] == {"storageUri": "gs://b/m"}


def test_a_number_where_a_text_belongs_is_read_as_it_was_written() -> None:
    text = service("model:\n  modelFormat: {name: sklearn, version: 1.10}\n  runtimeVersion: 0777")
    (manifest,) = read_manifests(text, "isvc.yaml").manifests
    model = manifest.resource.spec.predictor.model
    assert (model.model_format.version, model.runtime_version) == ("1.10", "0777")
    stored = manifest.object["spec"]["predictor"]["model"]
    assert (stored["modelFormat"]["version"], stored["runtimeVersion"]) == ("1.10", "0777")


def test_on_and_yes_are_texts_in_text_fields_and_truths_in_truth_fields() -> None:
    text = service(
        "containers:\n- image: example.com/x\n  stdin: yes\n  tty: off\n"
        "  env: [{name: A, value: on}, {name: B, value: no}, {name: C, value: True}]"
    )
    (manifest,) = read_manifests(text, "isvc.yaml").manifests
    container = manifest.resource.spec.predictor.containers[0]
    assert [each.value for each in container.env] == ["on", "no", "True"]
    assert (container.stdin, container.tty) == (True, False)
    stored = manifest.object["spec"]["predictor"]["containers"][0]
    assert stored["stdin"] is True
    assert stored["env"][2]["value"] == "True"


def test_a_quoted_yes_is_no_truth() -> None:
    (line,) = lines(service("containers: [{image: x, stdin: 'yes'}]"))
    assert line.endswith(".stdin: expected true or false, found the text 'yes'")


def test_an_object_of_the_api_gets_no_such_leniency() -> None:
    predictor = {"sklearn": {"storageUri": "gs://b/m", "runtimeVersion": 1.1}}
    obj = {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": "iris"},
        "spec": {"predictor": predictor},
    }
    parsed = parse_object(obj)
    assert parsed.resource is None
    assert [str(each) for each in parsed.problems] == [
        "spec.predictor.sklearn.runtimeVersion: expected a text, found 1.1"
    ]


def test_null_is_as_good_as_absent() -> None:
    text = service("batcher:\nlogger: null\nminReplicas: ~\nsklearn: {storageUri: gs://b/m}")
    (manifest,) = read_manifests(text, "isvc.yaml").manifests
    predictor = manifest.resource.spec.predictor
    assert (predictor.batcher, predictor.logger, predictor.min_replicas) == (None, None, None)


def test_quantities_may_be_numbers() -> None:
    text = service("sklearn: {storageUri: gs://b/m, resources: {limits: {cpu: 0.50, memory: 2Gi}}}")
    (manifest,) = read_manifests(text, "isvc.yaml").manifests
    limits = manifest.resource.spec.predictor.sklearn.resources.limits
    assert limits == {"cpu": "0.50", "memory": "2Gi"}


def test_a_field_without_effect_is_noted_once_and_is_no_problem() -> None:
    text = service("nodeSelector: {a: b, c: d}\ntolerations: []\nsklearn: {storageUri: gs://b/m}")
    reading = read_manifests(text, "isvc.yaml")
    assert reading.problems == ()
    assert [str(note) for note in reading.notes] == [
        "isvc.yaml:7: spec.predictor.nodeSelector: has no meaning on this backend "
        "(labels of the node)"
    ]


def test_what_is_within_a_field_without_effect_is_not_noted_again() -> None:
    probe = "livenessProbe: {grpc: {port: 1}, terminationGracePeriodSeconds: 1}"
    reading = read_manifests(service(f"containers: [{{image: x, {probe}}}]"), "isvc.yaml")
    assert [note.path for note in reading.notes] == ["spec.predictor.containers[0].livenessProbe"]


def test_an_unknown_field_names_the_nearest_known_one() -> None:
    assert lines(service("modle: {}")) == [
        "isvc.yaml:7: spec.predictor.modle: unknown field; did you mean 'model'?"
    ]


def test_a_field_in_the_wrong_place_is_told_where_it_belongs() -> None:
    assert lines(service("sklearn: {storageUri: gs://b/m, minReplicas: 1}")) == [
        "isvc.yaml:7: spec.predictor.sklearn.minReplicas: unknown field; "
        "it belongs in 'spec.predictor'"
    ]


def test_a_sidecar_beside_a_model_contradicts_nothing() -> None:
    sidecar = "sklearn: {storageUri: gs://b/m}\ncontainers: [{name: proxy, image: x}]"
    assert lines(service(sidecar)) == []
    main = sidecar.replace("proxy", "kserve-container")
    assert lines(service(main)) == [
        "isvc.yaml:8: spec.predictor.containers: contradicts 'sklearn'; keep one of the two"
    ]


def test_max_replicas_zero_is_no_limit() -> None:
    assert lines(service("minReplicas: 3\nmaxReplicas: 0\nsklearn: {storageUri: gs://b/m}")) == []


@pytest.mark.parametrize("kind", ["List", "InferenceServiceList"])
def test_the_items_of_a_list_are_resources(kind: str) -> None:
    item = service("sklearn: {storageUri: gs://b/m, runtimeVersion: 1.20}")
    indented = "".join(f"    {line}\n" for line in item.splitlines())
    text = f"kind: {kind}\nitems:\n  -\n{indented}"
    (manifest,) = read_manifests(text, "isvc.yaml").manifests
    assert manifest.line == 4
    assert manifest.object["spec"]["predictor"]["sklearn"]["runtimeVersion"] == "1.20"


def test_files_that_declare_the_same_resource_are_told_so() -> None:
    text = service("sklearn: {storageUri: gs://b/m}")
    first, second = (read_manifests(text, name).manifests for name in ("a.yaml", "b.yaml"))
    assert [str(each) for each in find_duplicates((*first, *second))] == [
        "b.yaml:1: metadata.name: InferenceService 'iris' is declared twice, first in a.yaml:1"
    ]


def test_the_same_name_in_another_namespace_is_another_resource() -> None:
    text = service("sklearn: {storageUri: gs://b/m}")
    other = text.replace("name: iris", "name: iris\n  namespace: lab")
    assert read_manifests(f"{text}---\n{other}", "isvc.yaml").problems == ()


def test_what_was_read_from_the_cluster_can_be_applied_again() -> None:
    text = service("sklearn: {storageUri: gs://b/m}") + (
        "status:\n  url: http://iris.default.example.com\n  conditions: []\n"
    )
    text = text.replace(
        "  name: iris\n",
        "  name: iris\n  uid: 5f0c\n  resourceVersion: '42'\n  generation: 2\n"
        "  creationTimestamp: 2026-01-01T00:00:00Z\n  managedFields: [{manager: kubectl}]\n",
    )
    (manifest,) = read_manifests(text, "isvc.yaml").manifests
    assert manifest.resource.metadata.creation_timestamp == "2026-01-01T00:00:00Z"


def test_an_empty_text_has_neither_resources_nor_problems() -> None:
    assert read_manifests("# nothing\n---\n---\n", "a.yaml").problems == ()
    assert read_manifests("", "a.yaml").manifests == ()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_no_object_whatsoever_breaks_the_reader(data: st.DataObject) -> None:
    """A good manifest in which one value was replaced by another: problems, or a resource."""
    text = data.draw(st.sampled_from(GOOD)).read_text()
    obj = msgspec.json.decode(msgspec.json.encode(read_manifests(text, "x").manifests[-1].object))
    place, key = obj, data.draw(st.sampled_from(sorted(obj)))
    while isinstance(place[key], dict) and place[key] and data.draw(st.booleans()):
        place, key = place[key], data.draw(st.sampled_from(sorted(place[key])))
    place[key] = data.draw(JSON)
    parsed = parse_object(obj)
    assert (parsed.resource is None) == bool(parsed.problems)


@settings(max_examples=150, deadline=None)
@given(st.text(alphabet="ab:-[]{}&*!|>'\"#%@\n\t ,?<1.~", max_size=60))
def test_no_text_whatsoever_breaks_the_reader(text: str) -> None:
    reading = read_manifests(text, "x.yaml")
    assert reading.manifests == ()


def test_a_v1alpha2_problem_is_told_on_the_old_path() -> None:
    text = service("").replace("v1beta1", "v1alpha2").replace("  predictor:\n", "  default: {}\n")
    assert lines(text) == ["isvc.yaml:6: spec.default.predictor: is required, but missing"]


def test_a_number_beyond_64_bits_is_out_of_range() -> None:
    obj = parse_object(
        {
            "apiVersion": "serving.kserve.io/v1beta1",
            "kind": "InferenceService",
            "metadata": {"name": "iris", "generation": 2**70},
            "spec": {"predictor": {"sklearn": {"storageUri": "gs://b/m"}}},
        }
    )
    (problem,) = obj.problems
    assert str(problem).startswith("metadata.generation: must be at most 9223372036854775807")


def test_an_api_version_that_is_no_text_is_a_problem() -> None:
    (line,) = lines("apiVersion: [v1]\nkind: Secret\n")
    assert line == "isvc.yaml:2: kind: apiVersion and kind must be texts"


def test_advice_is_given_for_so_many_unknown_fields_only() -> None:
    found = lines(service("\n".join(f"modle{index}: 1" for index in range(60))))
    assert sum(line.endswith("did you mean 'model'?") for line in found) == 50
    assert sum(line.endswith("unknown field") for line in found) == 10


@pytest.mark.parametrize("component", ["transformer", "explainer"])
def test_a_component_may_be_a_python_class_by_annotation(component: str) -> None:
    text = service("sklearn: {storageUri: gs://b/m}")
    annotated = f"  {component}: {{annotations: {{salver.dev/class: 'code.py:Mine'}}}}\n"
    assert lines(text + annotated) == []
    assert len(lines(text + f"  {component}: {{minReplicas: 1}}\n")) == 1


def test_a_predictor_may_be_a_python_class_by_annotation_of_the_service() -> None:
    text = service("minReplicas: 1").replace(
        "name: iris", "name: iris\n  annotations: {salver.dev/class: 'model.py:Mine'}"
    )
    assert lines(text) == []


def test_what_was_declared_under_the_former_group_is_kept_under_the_present_one() -> None:
    text = service("sklearn: {storageUri: gs://b/m}").replace("kserve.io", "kubeflow.org")
    (manifest,) = read_manifests(text, "isvc.yaml").manifests
    assert manifest.object["apiVersion"] == "serving.kubeflow.org/v1beta1"
    assert manifest.resource.api_version == "serving.kserve.io/v1beta1"
    assert parse_object(manifest.object).object["apiVersion"] == "serving.kserve.io/v1beta1"
