"""InferenceService v1alpha2: what it becomes in v1beta1, and what is lost on the way."""

from salver.spec import kserve
from salver.spec.read import ManifestReading, parse_object, read_manifests

HEAD = """\
apiVersion: serving.kubeflow.org/v1alpha2
kind: InferenceService
metadata:
  name: iris
  labels: {team: lab}
spec:
"""


def read(spec: str) -> ManifestReading:
    return read_manifests(HEAD + "".join(f"  {line}\n" for line in spec.splitlines()), "isvc.yaml")


def converted(spec: str) -> kserve.InferenceService:
    reading = read(spec)
    assert reading.problems == ()
    resource = reading.manifests[0].resource
    assert isinstance(resource, kserve.InferenceService)
    return resource


def test_the_default_endpoint_becomes_the_spec() -> None:
    service = converted(
        "default:\n"
        "  predictor:\n"
        "    minReplicas: 0\n"
        "    maxReplicas: 3\n"
        "    parallelism: 2\n"
        "    serviceAccountName: sa\n"
        "    batcher: {maxBatchSize: 8}\n"
        "    logger: {url: http://sink, mode: response}\n"
        "    sklearn: {storageUri: gs://b/m, runtimeVersion: 0.20, resources: {limits: {cpu: 1}}}\n"
    )
    assert service.api_version == "serving.kserve.io/v1beta1"
    assert service.metadata.labels == {"team": "lab"}
    predictor = service.spec.predictor
    assert (predictor.min_replicas, predictor.max_replicas) == (0, 3)
    assert predictor.container_concurrency == 2
    assert predictor.service_account_name == "sa"
    assert predictor.batcher == kserve.Batcher(max_batch_size=8)
    assert predictor.logger == kserve.LoggerSpec(url="http://sink", mode="response")
    assert predictor.sklearn is not None
    assert predictor.sklearn.storage_uri == "gs://b/m"
    assert predictor.sklearn.runtime_version == "0.20"
    assert predictor.sklearn.resources is not None
    assert predictor.sklearn.resources.limits == {"cpu": "1"}
    assert service.spec.canary == ()


def test_the_canary_becomes_an_entry_of_the_list_named_canary() -> None:
    service = converted(
        "default: {predictor: {xgboost: {storageUri: gs://b/1}}}\n"
        "canary: {predictor: {xgboost: {storageUri: gs://b/2}}}\n"
        "canaryTrafficPercent: 25\n"
    )
    assert service.spec.predictor.canary_traffic_percent is None
    (canary,) = service.spec.canary
    assert (canary.predictor.name, canary.traffic_percent) == ("canary", 25)
    assert canary.predictor.xgboost is not None
    assert canary.predictor.xgboost.storage_uri == "gs://b/2"


def test_a_canary_without_percentage_gets_no_requests() -> None:
    service = converted(
        "default: {predictor: {onnx: {storageUri: gs://b/1}}}\n"
        "canary: {predictor: {onnx: {storageUri: gs://b/2}}}\n"
    )
    assert service.spec.canary[0].traffic_percent == 0


def test_custom_containers_become_containers() -> None:
    container = "{custom: {container: {name: c, image: x, command: [run]}}}"
    service = converted(
        f"default:\n  predictor: {container}\n  transformer: {container}\n  explainer: {container}"
    )
    assert service.spec.transformer is not None
    assert service.spec.explainer is not None
    for component in (service.spec.predictor, service.spec.transformer, service.spec.explainer):
        assert [each.command for each in component.containers] == [("run",)]


def test_an_explainer_keeps_its_method() -> None:
    service = converted(
        "default:\n"
        "  predictor: {sklearn: {storageUri: gs://b/m}}\n"
        "  explainer: {alibi: {type: AnchorTabular, storageUri: gs://b/e, config: {seed: 7}}}\n"
    )
    assert service.spec.explainer is not None
    assert service.spec.explainer.alibi is not None
    assert service.spec.explainer.alibi.type == "AnchorTabular"
    assert service.spec.explainer.alibi.config == {"seed": "7"}


def test_what_v1beta1_cannot_say_is_noted() -> None:
    reading = read(
        "default: {predictor: {sklearn: {storageUri: gs://b/1}}}\n"
        "canary:\n"
        "  predictor: {sklearn: {storageUri: gs://b/2}, minReplicas: 2}\n"
        "  transformer: {custom: {container: {image: x}}}\n"
    )
    assert [str(note) for note in reading.notes] == [
        "isvc.yaml:9: spec.canary.predictor.minReplicas: is left out: "
        "a canary scales as the default does",
        "isvc.yaml:10: spec.canary.transformer: is left out: "
        "the default's transformer serves the canary too",
    ]


def test_the_object_that_is_kept_is_of_the_new_version() -> None:
    manifest = read("default: {predictor: {sklearn: {storageUri: gs://b/m}}}").manifests[0]
    assert manifest.object["apiVersion"] == "serving.kubeflow.org/v1alpha2"
    assert parse_object(manifest.object).object == {
        "apiVersion": "serving.kserve.io/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": "iris", "labels": {"team": "lab"}},
        "spec": {"predictor": {"sklearn": {"storageUri": "gs://b/m"}}},
    }
