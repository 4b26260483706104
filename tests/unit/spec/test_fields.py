"""The types: every field has a description, and a type that the reader knows."""

from typing import Any

import msgspec
import pytest

from salver.spec import core, kserve, mlserver, modelmesh, v1alpha2
from salver.spec.fields import fields_of, shape_of

ROOTS = (
    kserve.InferenceService,
    v1alpha2.InferenceService,
    kserve.ServingRuntime,
    kserve.ClusterServingRuntime,
    kserve.TrainedModel,
    kserve.ClusterStorageContainer,
    kserve.LocalModelCache,
    kserve.LocalModelNamespaceCache,
    kserve.LocalModelNode,
    kserve.LocalModelNodeGroup,
    modelmesh.Predictor,
    mlserver.ModelSettings,
    mlserver.ServerSettings,
    core.Secret,
    core.ConfigMap,
    core.ServiceAccount,
    core.Namespace,
    core.PersistentVolumeClaim,
)


def all_types() -> set[type[msgspec.Struct]]:
    found: set[type[msgspec.Struct]] = set()
    waiting: list[Any] = list(ROOTS)
    while waiting:
        struct = waiting.pop()
        if struct not in found:
            found.add(struct)
            inner = (shape_of(field.type).struct for field in fields_of(struct))
            waiting += [each for each in inner if each is not None]
    return found


@pytest.mark.parametrize("struct", sorted(all_types(), key=str), ids=lambda each: each.__name__)
def test_every_type_and_every_field_says_what_it_is(struct: type[msgspec.Struct]) -> None:
    assert (struct.__doc__ or "").strip().endswith(".")
    for field in fields_of(struct):
        assert field.trait.description, field.name
        assert not field.trait.description.endswith("."), field.name


def test_there_are_as_many_types_as_kserve_has() -> None:
    assert len(all_types()) > 70


@pytest.mark.parametrize("struct", sorted(all_types(), key=str), ids=lambda each: each.__name__)
def test_msgspec_knows_the_types_too(struct: type[msgspec.Struct]) -> None:
    """They can be written and read without the reader, e.g. where they are stored."""
    msgspec.json.Decoder(struct)


def test_a_type_that_is_nobody_knows_is_a_mistake_of_ours() -> None:
    with pytest.raises(TypeError, match="no type that fields of resources have"):
        shape_of(int | bytes)


def test_the_documented_fields_of_a_component_are_all_known() -> None:
    names = {field.name for field in fields_of(kserve.PredictorSpec)}
    documented = (
        "minReplicas maxReplicas scaleTarget scaleMetric scaleMetricType autoScaling "
        "containerConcurrency timeout canaryTrafficPercent logger batcher labels annotations "
        "deploymentStrategy model sklearn xgboost tensorflow pytorch triton onnx huggingface "
        "pmml lightgbm paddle containers storageUris storageContainerName workerSpec name "
        "initContainers volumes serviceAccountName nodeSelector tolerations affinity hostIPC "
        "hostPID setHostnameAsFQDN imagePullSecrets topologySpreadConstraints"
    )
    assert set(documented.split()) <= names
