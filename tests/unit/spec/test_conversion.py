"""InferenceServices there and back between v1beta1 and v1alpha2, and changed as the old one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from salver.spec.conversion import WRITTEN, changed_through, converted, from_v1beta1, to_v1beta1
from salver.spec.read import parse_object

OLD = "serving.kserve.io/v1alpha2"
NEW = "serving.kserve.io/v1beta1"
PUBLISHED = Path(__file__).parents[2] / "manifests" / "kserve"

Json = dict[str, Any]


def obj(api_version: str, spec: Json, **annotations: str) -> Json:
    metadata: Json = {"name": "iris"}
    if annotations:
        metadata["annotations"] = annotations
    return {
        "apiVersion": api_version,
        "kind": "InferenceService",
        "metadata": metadata,
        "spec": spec,
    }


def old(default: Json, **spec: Any) -> Json:
    return obj(OLD, {"default": default, **spec})


def new(**predictor: Any) -> Json:
    return obj(NEW, {"predictor": predictor})


SKLEARN = {"storageUri": "gs://b/m"}
CUSTOM = {"container": {"name": "c", "image": "i", "command": ["run"]}}
OLD_SPECS: dict[str, Json] = {
    "plain": {"default": {"predictor": {"sklearn": SKLEARN}}},
    "all of a component": {
        "default": {
            "predictor": {
                "minReplicas": 0,
                "maxReplicas": 3,
                "parallelism": 2,
                "serviceAccountName": "sa",
                "batcher": {"maxBatchSize": 8},
                "logger": {"url": "http://sink", "mode": "all"},
                "xgboost": {**SKLEARN, "runtimeVersion": "1.0", "resources": {"limits": {}}},
            }
        }
    },
    "custom, transformer, explainer": {
        "default": {
            "predictor": {"custom": CUSTOM},
            "transformer": {"custom": CUSTOM, "parallelism": 1},
            "explainer": {"alibi": {"type": "AnchorTabular", "config": {"a": "b"}}},
        }
    },
    "canary": {
        "default": {"predictor": {"sklearn": SKLEARN}},
        "canary": {"predictor": {"onnx": {"storageUri": "gs://b/2"}}},
        "canaryTrafficPercent": 0,
    },
    "what v1beta1 has no place for": {
        "default": {"predictor": {"sklearn": {**SKLEARN, "parallelism": 4}}},
        "canary": {
            "predictor": {"sklearn": SKLEARN, "minReplicas": 2},
            "transformer": {"custom": CUSTOM},
        },
        "canaryTrafficPercent": 20,
    },
}


@pytest.mark.parametrize("name", OLD_SPECS)
def test_what_was_written_in_the_old_version_comes_back(name: str) -> None:
    given = obj(OLD, OLD_SPECS[name])
    kept = to_v1beta1(given)
    assert kept["apiVersion"] == NEW
    assert parse_object(given).problems == ()
    assert parse_object(kept).problems == (), "it is valid as it is kept"
    assert from_v1beta1(kept) == given


@pytest.mark.parametrize("name", ["v1alpha2.yaml", "v1alpha2-canary.yaml", "v1alpha2-custom.yaml"])
def test_published_manifests_come_back(name: str) -> None:
    given = yaml.safe_load((PUBLISHED / name).read_text())
    kept = to_v1beta1(given)
    assert from_v1beta1(kept, given["apiVersion"]) == given


def test_only_what_has_no_place_is_noted_beside_it() -> None:
    assert "annotations" not in to_v1beta1(obj(OLD, OLD_SPECS["canary"]))["metadata"]
    noted = to_v1beta1(obj(OLD, OLD_SPECS["what v1beta1 has no place for"]))
    assert list(noted["metadata"]["annotations"]) == [WRITTEN]


def test_a_note_about_what_has_changed_since_is_not_believed() -> None:
    kept = to_v1beta1(old({"predictor": {"sklearn": {**SKLEARN, "parallelism": 4}}}))
    kept["spec"]["predictor"]["sklearn"] = {"storageUri": "gs://b/other"}
    back = from_v1beta1(kept)
    assert back["spec"] == {
        "default": {"predictor": {"sklearn": {"storageUri": "gs://b/other"}, "parallelism": 4}}
    }
    assert "annotations" not in back["metadata"]


@pytest.mark.parametrize("note", ["", "no JSON", "[]", '"text"', "{}", '{"of": 1}'])
def test_a_note_that_somebody_spoilt_is_ignored(note: str) -> None:
    kept = new(sklearn=SKLEARN)
    kept["metadata"]["annotations"] = {WRITTEN: note, "mine": "x"}
    back = from_v1beta1(kept)
    assert back["spec"] == {"default": {"predictor": {"sklearn": SKLEARN}}}
    assert back["metadata"]["annotations"] == {"mine": "x"}


def test_a_model_of_a_format_is_shown_by_its_name() -> None:
    model = {"modelFormat": {"name": "sklearn", "version": "1"}, "runtime": "own", **SKLEARN}
    shown = from_v1beta1(new(model=model, scaleTarget=3, minReplicas=0))
    assert shown["spec"] == {"default": {"predictor": {"minReplicas": 0, "sklearn": SKLEARN}}}


def test_a_change_through_the_old_version_keeps_what_that_cannot_say() -> None:
    model = {"modelFormat": {"name": "sklearn", "version": "1"}, "runtime": "own", **SKLEARN}
    kept = new(model=model, scaleTarget=3, canaryTrafficPercent=10, minReplicas=1, timeout=5)
    seen = from_v1beta1(kept)
    seen["spec"]["default"]["predictor"]["sklearn"] = {"storageUri": "gs://b/2"}
    del seen["spec"]["default"]["predictor"]["minReplicas"]
    changed = changed_through(kept, seen)
    assert changed["spec"]["predictor"] == {
        "model": {**model, "storageUri": "gs://b/2"},
        "scaleTarget": 3,
        "canaryTrafficPercent": 10,
        "timeout": 5,
    }
    assert "annotations" not in changed["metadata"]


def test_another_framework_replaces_the_model() -> None:
    kept = new(model={"modelFormat": {"name": "sklearn"}, **SKLEARN}, scaleTarget=3)
    wanted = old({"predictor": {"xgboost": {"storageUri": "gs://b/2"}}})
    assert changed_through(kept, wanted)["spec"]["predictor"] == {
        "scaleTarget": 3,
        "xgboost": {"storageUri": "gs://b/2"},
    }


def test_entries_of_lists_that_are_not_shown_stay() -> None:
    kept = new(containers=[{"name": "c", "image": "i"}, {"name": "side", "image": "s"}])
    kept["spec"]["canary"] = [
        {"predictor": {"name": "b", "sklearn": SKLEARN}, "trafficPercent": 10},
        {"predictor": {"name": "c", "sklearn": SKLEARN}, "trafficPercent": 20},
    ]
    seen = from_v1beta1(kept)
    assert seen["spec"]["canaryTrafficPercent"] == 10
    seen["spec"]["canaryTrafficPercent"] = 15
    seen["spec"]["default"]["predictor"]["custom"]["container"]["image"] = "i2"
    spec = changed_through(kept, seen)["spec"]
    assert spec["predictor"]["containers"] == [
        {"name": "c", "image": "i2"},
        {"name": "side", "image": "s"},
    ]
    assert [each["trafficPercent"] for each in spec["canary"]] == [15, 20]
    assert spec["canary"][0]["predictor"]["name"] == "b"


def test_a_canary_that_is_left_out_goes() -> None:
    kept = to_v1beta1(obj(OLD, OLD_SPECS["canary"]))
    wanted = obj(OLD, OLD_SPECS["plain"])
    assert changed_through(kept, wanted)["spec"] == to_v1beta1(wanted)["spec"]


def test_nothing_changed_is_no_change() -> None:
    for spec in OLD_SPECS.values():
        kept = to_v1beta1(obj(OLD, spec))
        assert changed_through(kept, from_v1beta1(kept)) == kept


def test_the_former_group_has_the_same_versions() -> None:
    kept = new(sklearn=SKLEARN)
    assert converted(kept, "serving.kubeflow.org/v1beta1")["spec"] == kept["spec"]
    shown = converted(kept, "serving.kubeflow.org/v1alpha2")
    assert shown["apiVersion"] == "serving.kubeflow.org/v1alpha2"
    assert shown["spec"] == {"default": {"predictor": {"sklearn": SKLEARN}}}
