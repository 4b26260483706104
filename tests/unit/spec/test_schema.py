"""The JSON Schemas: they are schemas, they take what is read, they refuse what is not."""

from pathlib import Path
from typing import Any

import jsonschema
import pytest
from tests.unit.spec.graph_seeds import SEEDS

from salver.spec import core, kserve
from salver.spec.catalogue import struct_of
from salver.spec.kinds import RESOURCE_TYPES
from salver.spec.read import read_manifests
from salver.spec.schema import json_schema, schema_components, schema_of

GOOD = sorted((Path(__file__).parents[2] / "manifests" / "kserve").glob("*.yaml"))
VERSIONS = [(each, version) for each in RESOURCE_TYPES for version in each.versions]


def descriptions(schema: Any) -> list[str]:
    if not isinstance(schema, dict):
        return []
    found = [each.get("description", "") for each in schema.get("properties", {}).values()]
    return found + [
        text for each in schema.get("$defs", {}).values() for text in descriptions(each)
    ]


@pytest.mark.parametrize(
    ("type_", "version"), VERSIONS, ids=[f"{each.kind}-{version}" for each, version in VERSIONS]
)
def test_every_kind_has_a_schema_with_a_description_of_every_field(
    type_: Any, version: str
) -> None:
    schema = schema_of(type_, version)
    jsonschema.Draft202012Validator.check_schema(schema)
    assert all(descriptions(schema))
    assert ("properties" in schema) == (struct_of(type_, version) is not None)


@pytest.mark.parametrize("path", GOOD, ids=[path.stem for path in GOOD])
def test_the_schemas_take_good_manifests(path: Path) -> None:
    for manifest in read_manifests(path.read_text(), path.name).manifests:
        version = manifest.object["apiVersion"].rpartition("/")[2]
        jsonschema.validate(manifest.object, schema_of(manifest.type, version))


def without_nulls(value: Any) -> Any:
    """Kubernetes takes a null field for an absent one before it looks at the schema."""
    if isinstance(value, dict):
        return {key: without_nulls(each) for key, each in value.items() if each is not None}
    return [without_nulls(each) for each in value] if isinstance(value, list) else value


@pytest.mark.parametrize("obj", [each for seeds in SEEDS.values() for each in seeds])
def test_the_schemas_take_graphs_of_all_dialects(obj: Any) -> None:
    type_ = next(each for each in RESOURCE_TYPES if each.kind == obj["kind"])
    version = obj["apiVersion"].rpartition("/")[2]
    jsonschema.validate(without_nulls(obj), schema_of(type_, version))


@pytest.mark.parametrize(
    "predictor",
    [
        {"modle": {}},
        {"minReplicas": "1"},
        {"minReplicas": -1},
        {"canaryTrafficPercent": 101},
        {"logger": {"mode": "some"}},
        {"model": {"storageUri": "gs://b/m"}},
        {"containers": {"name": "x"}},
    ],
)
def test_the_schema_refuses_what_the_reader_refuses(predictor: dict[str, Any]) -> None:
    obj = {"metadata": {"name": "iris"}, "spec": {"predictor": predictor}}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(obj, json_schema(kserve.InferenceService))


def test_components_of_openapi_refer_to_each_other() -> None:
    components = schema_components([kserve.TrainedModel, core.Secret])
    assert set(components) == {
        "core.Secret",
        "kserve_models.TrainedModel",
        "kserve_models.TrainedModelModel",
        "kserve_models.TrainedModelSpec",
        "metadata.ObjectMeta",
        "metadata.OwnerReference",
    }
    spec = components["kserve_models.TrainedModelSpec"]
    assert spec["properties"]["model"] == {
        "description": "the model",
        "allOf": [{"$ref": "#/components/schemas/kserve_models.TrainedModelModel"}],
    }
    assert spec["required"] == ["inferenceService", "model"]
