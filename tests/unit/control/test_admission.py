"""What becomes of objects before they are stored, and what `serve -f` does with them."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from datetime import UTC, datetime
from itertools import count
from typing import Any

import pytest

from salver.backends.state.sqlite import SqliteResourceStore
from salver.control.admission import SpecAdmission, apply_object, with_string_data
from salver.control.resources import ObjectRef
from salver.errors import ManifestError

SERVICE: dict[str, Any] = {
    "apiVersion": "serving.kserve.io/v1beta1",
    "kind": "InferenceService",
    "metadata": {"name": "iris"},
    "spec": {"predictor": {"sklearn": {"storageUri": "gs://m/1"}}},
}
REF = ObjectRef("serving.kserve.io", "inferenceservices", "default", "iris")


@pytest.fixture
def store() -> Iterator[SqliteResourceStore]:
    uids = count(1)
    now = datetime(2026, 1, 2, tzinfo=UTC)
    opened = SqliteResourceStore(None, now=lambda: now, new_uid=lambda: f"uid-{next(uids)}")
    yield opened
    opened.close()


def test_all_problems_are_refused_at_once() -> None:
    predictor = {"sklearn": {"storageUrl": "x"}, "canaryTrafficPercent": 150}
    with pytest.raises(ManifestError) as caught:
        SpecAdmission().admit({**SERVICE, "spec": {"predictor": predictor}}, None)
    assert len(caught.value.problems) == 2
    text = str(caught.value)
    assert "storageUrl" in text
    assert "canaryTrafficPercent" in text


def test_what_means_nothing_here_is_admitted_with_a_warning() -> None:
    predictor = {"sklearn": {"storageUri": "x"}, "nodeSelector": {"disk": "ssd"}}
    _, warnings = SpecAdmission().admit({**SERVICE, "spec": {"predictor": predictor}}, None)
    assert [warning.partition(":")[0] for warning in warnings] == ["spec.predictor.nodeSelector"]


def test_an_old_version_is_stored_as_the_present_one() -> None:
    old = {
        **SERVICE,
        "apiVersion": "serving.kubeflow.org/v1alpha2",
        "spec": {"default": {"predictor": {"sklearn": {"storageUri": "gs://m/1"}}}},
    }
    admitted, _ = SpecAdmission().admit(old, None)
    assert admitted["apiVersion"] == "serving.kserve.io/v1beta1"
    assert admitted["spec"]["predictor"]["sklearn"] == {"storageUri": "gs://m/1"}


def test_the_texts_of_a_secret_are_stored_as_its_data() -> None:
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "s3"},
        "stringData": {"key": "abc"},
        "data": {"key": "b2xk", "other": "eA=="},
    }
    admitted, _ = SpecAdmission().admit(secret, None)
    assert "stringData" not in admitted
    assert base64.b64decode(admitted["data"]["key"]) == b"abc"
    assert admitted["data"]["other"] == "eA=="
    assert with_string_data({"kind": "Secret"}) == {"kind": "Secret"}


def test_apply_creates_then_leaves_alone_then_changes(store: SqliteResourceStore) -> None:
    admission = SpecAdmission()
    assert apply_object(store, admission, SERVICE) == (REF, "created")
    assert apply_object(store, admission, SERVICE) == (REF, "unchanged")
    changed = {**SERVICE, "spec": {"predictor": {"sklearn": {"storageUri": "gs://m/2"}}}}
    assert apply_object(store, admission, changed) == (REF, "configured")
    kept = store.get(REF)
    assert kept["spec"]["predictor"]["sklearn"]["storageUri"] == "gs://m/2"
    assert kept["metadata"]["generation"] == 2


def test_apply_leaves_the_status_of_what_is_unchanged(store: SqliteResourceStore) -> None:
    apply_object(store, SpecAdmission(), SERVICE)
    store.update_status(REF, {**store.get(REF), "status": {"url": "http://here"}})
    assert apply_object(store, SpecAdmission(), SERVICE)[1] == "unchanged"
    assert store.get(REF)["status"] == {"url": "http://here"}


def test_apply_keeps_namespaces_apart_and_knows_what_has_none(store: SqliteResourceStore) -> None:
    there = {**SERVICE, "metadata": {"name": "iris", "namespace": "team-a"}}
    ref, outcome = apply_object(store, SpecAdmission(), there)
    assert (ref.namespace, outcome) == ("team-a", "created")
    runtime = {
        "apiVersion": "serving.kserve.io/v1alpha1",
        "kind": "ClusterServingRuntime",
        "metadata": {"name": "mine"},
        "spec": {"supportedModelFormats": [{"name": "x"}], "containers": [{"name": "c"}]},
    }
    ref, _ = apply_object(store, SpecAdmission(), runtime)
    assert ref == ObjectRef("serving.kserve.io", "clusterservingruntimes", "", "mine")


def test_each_problem_keeps_its_field() -> None:
    predictor = {"sklearn": {"storageUrl": "x"}, "canaryTrafficPercent": 150}
    with pytest.raises(ManifestError) as caught:
        SpecAdmission().admit({**SERVICE, "spec": {"predictor": predictor}}, None)
    assert [field for field, _ in caught.value.causes] == [
        "spec.predictor.canaryTrafficPercent",
        "spec.predictor.sklearn.storageUrl",
    ]
    assert caught.value.causes[1][1].startswith("unknown field")


def former(storage_uri: str, **predictor: Any) -> dict[str, Any]:
    default = {"predictor": {"sklearn": {"storageUri": storage_uri}, **predictor}}
    return {
        **SERVICE,
        "apiVersion": "serving.kserve.io/v1alpha2",
        "spec": {"default": default},
    }


def test_a_change_through_the_old_version_is_kept_in_the_new_one() -> None:
    kept = {**SERVICE, "spec": {"predictor": {"sklearn": {"storageUri": "gs://m/1"}, "timeout": 9}}}
    admitted, _ = SpecAdmission().admit(former("gs://m/2"), kept)
    assert admitted["apiVersion"] == "serving.kserve.io/v1beta1"
    assert admitted["spec"] == {"predictor": {"sklearn": {"storageUri": "gs://m/2"}, "timeout": 9}}


def test_a_change_through_the_old_version_is_checked_as_a_whole() -> None:
    kept = {
        **SERVICE,
        "spec": {"predictor": {"sklearn": {"storageUri": "gs://m/1"}, "maxReplicas": 3}},
    }
    with pytest.raises(ManifestError, match="minReplicas"):
        SpecAdmission().admit(former("gs://m/1", minReplicas=4, maxReplicas=3), kept)
