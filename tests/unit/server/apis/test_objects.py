"""Objects through the API: what is stored, answered and refused."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from salver.control.resources import ObjectRef
from salver.server.apis.status import Refusal

SERVICES = "/apis/serving.kserve.io/v1beta1/namespaces/default/inferenceservices"
IRIS = SERVICES + "/iris"
TABLE = {"accept": "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"}
MERGE = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
MakeService = Callable[..., dict[str, Any]]


def names(answer: Any) -> list[str]:
    return [each["metadata"]["name"] for each in answer.json()["items"]]


def refused(answer: Any, code: int, reason: str) -> dict[str, Any]:
    body: dict[str, Any] = answer.json()
    assert (answer.status_code, body["code"], body["reason"]) == (code, code, reason), body
    assert (body["kind"], body["status"]) == ("Status", "Failure")
    return body


def test_a_created_object_is_listed_got_and_deleted(api: Any) -> None:
    created = api.create(minReplicas=1)
    assert created["metadata"]["uid"]
    assert created["metadata"]["namespace"] == "default"
    assert api.ask("GET", IRIS).json() == created
    listed = api.ask("GET", SERVICES).json()
    assert listed["kind"] == "InferenceServiceList"
    assert listed["apiVersion"] == "serving.kserve.io/v1beta1"
    assert listed["items"] == [created]
    assert listed["metadata"]["resourceVersion"] == str(api.store.version)
    deleted = api.ask("DELETE", IRIS).json()
    assert deleted["status"] == "Success"
    assert deleted["details"] == {
        "name": "iris",
        "group": "serving.kserve.io",
        "kind": "inferenceservices",
        "uid": created["metadata"]["uid"],
    }
    body = refused(api.ask("GET", IRIS), 404, "NotFound")
    assert body["details"]["name"] == "iris"


def test_what_the_server_keeps_cannot_be_set_by_creating(api: Any) -> None:
    given = {
        "metadata": {"name": "iris", "uid": "mine", "generation": 9, "creationTimestamp": None},
        "spec": {},
        "status": {"url": "http://mine"},
    }
    created = api.ask("POST", SERVICES, given).json()
    assert created["metadata"]["generation"] == 1
    assert created["metadata"]["uid"] != "mine"
    assert created["kind"] == "InferenceService"
    assert "status" not in created
    given["metadata"]["resourceVersion"] = "5"
    refused(api.ask("POST", SERVICES, given), 400, "BadRequest")


def test_a_second_of_the_same_name_exists_already(api: Any, make_service: MakeService) -> None:
    api.create()
    refused(api.ask("POST", SERVICES, make_service("iris")), 409, "AlreadyExists")


def test_a_name_can_be_generated(api: Any) -> None:
    created = api.ask("POST", SERVICES, {"metadata": {"generateName": "iris-"}, "spec": {}})
    assert created.json()["metadata"]["name"] == "iris-rand1"
    body = refused(api.ask("POST", SERVICES, {"spec": {}}), 422, "Invalid")
    assert body["details"]["causes"][0]["field"] == "metadata.name"


@pytest.mark.parametrize("name", ["Iris", "-iris", "iris-", "a/b", "a..b", "x" * 254, ""])
def test_a_name_that_is_none_is_invalid(api: Any, name: str) -> None:
    body = refused(api.ask("POST", SERVICES, {"metadata": {"name": name}}), 422, "Invalid")
    assert body["details"]["causes"][0]["field"] == "metadata.name"


def test_every_problem_of_an_object_is_a_cause(api: Any, make_service: MakeService) -> None:
    answer = api.ask("POST", SERVICES, make_service("iris", bad=1, verybad=2))
    body = refused(answer, 422, "Invalid")
    assert body["details"]["kind"] == "InferenceService"
    assert body["details"]["name"] == "iris"
    assert body["details"]["causes"] == [
        {
            "reason": "FieldValueInvalid",
            "field": f"spec.predictor.{name}",
            "message": "is bad",
        }
        for name in ("bad", "verybad")
    ]
    assert 'InferenceService "iris" is invalid' in body["message"]


def test_warnings_are_headers(api: Any, make_service: MakeService) -> None:
    answer = api.ask("POST", SERVICES, make_service("iris", odd=1))
    assert answer.headers["warning"] == r'299 - "\"odd\" is odd"'


@pytest.mark.parametrize(
    ("change", "fact"),
    [
        ({"kind": "Secret"}, "takes the kind InferenceService, not Secret"),
        ({"apiVersion": "v1"}, "does not match the expected API version"),
        ({"metadata": {"name": "rose"}}, "does not match the name on the URL"),
        ({"metadata": {"namespace": "else"}}, "does not match the namespace sent"),
        ({"metadata": []}, "metadata must be an object"),
    ],
)
def test_an_object_that_contradicts_its_path_is_refused(
    api: Any, make_service: MakeService, change: dict[str, Any], fact: str
) -> None:
    api.create()
    answer = api.ask("PUT", IRIS, {**make_service("iris"), **change})
    assert fact in refused(answer, 400, "BadRequest")["message"]


def test_a_replacement_from_an_old_version_conflicts(api: Any) -> None:
    old = api.create(minReplicas=1)
    new = api.ask("PUT", IRIS, {**old, "spec": {"predictor": {"minReplicas": 2}}}).json()
    assert new["metadata"]["generation"] == 2
    body = refused(api.ask("PUT", IRIS, old), 409, "Conflict")
    assert "has been modified" in body["message"]


def test_bodies_may_be_yaml(api: Any) -> None:
    text = b"metadata: {name: iris, labels: {since: 2026-01-02}}\nspec: {predictor: {a: 1}}\n"
    created = api.ask("POST", SERVICES, text, media="application/yaml").json()
    assert created["metadata"]["labels"] == {"since": "2026-01-02"}
    assert created["spec"] == {"predictor": {"a": 1}}


@pytest.mark.parametrize(
    ("body", "media", "code", "fact"),
    [
        (b"{", "application/json", 400, "the body is no JSON"),
        (b"[]", "application/json", 400, "must be an object, not list"),
        (b"a: [", "application/yaml", 400, "the body is no YAML"),
        (b"!!python/object:os.system {}", "application/yaml", 400, "the body is no YAML"),
        (b"<a/>", "application/xml", 415, "'application/xml' is not supported"),
        (b"k8s\x00", "application/vnd.kubernetes.protobuf", 415, "cannot read the protobuf"),
        (b" " * (4 << 20), "application/json", 413, "the body is over"),
    ],
)
def test_a_body_that_cannot_be_read_is_refused(
    api: Any, body: bytes, media: str, code: int, fact: str
) -> None:
    answer = api.ask("POST", SERVICES, body, media=media)
    assert answer.status_code == code
    assert fact in answer.json()["message"]


def test_aliases_of_yaml_cannot_multiply_without_bound(api: Any) -> None:
    lines = [b"a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [b"a%d: &a%d [%b]" % (n, n, b", ".join([b"*a%d" % (n - 1)] * 10)) for n in range(1, 9)]
    answer = api.ask("POST", SERVICES, b"\n".join(lines), media="application/yaml")
    assert "more than 200000 values" in refused(answer, 400, "BadRequest")["message"]


def test_a_merge_patch_changes_what_it_names(api: Any) -> None:
    api.create(minReplicas=1, maxReplicas=3)
    patch = {"spec": {"predictor": {"minReplicas": 2, "maxReplicas": None}}}
    assert api.ask("PATCH", IRIS, patch, media=MERGE).json()["spec"] == {
        "predictor": {"minReplicas": 2}
    }


def test_a_json_patch_is_done_in_whole_or_not_at_all(api: Any) -> None:
    api.create(minReplicas=1)
    replace = {"op": "replace", "path": "/spec/predictor/minReplicas", "value": 2}
    fails = {"op": "test", "path": "/spec/predictor/minReplicas", "value": 7}
    body = refused(api.ask("PATCH", IRIS, [replace, fails], media=JSON_PATCH), 422, "Invalid")
    assert "operation 1 of the JSON patch cannot be done" in body["message"]
    assert api.ask("GET", IRIS).json()["spec"]["predictor"]["minReplicas"] == 1
    patched = api.ask("PATCH", IRIS, [replace], media=JSON_PATCH).json()
    assert patched["spec"]["predictor"]["minReplicas"] == 2


def test_a_patch_from_an_old_version_conflicts(api: Any) -> None:
    version = api.create()["metadata"]["resourceVersion"]
    api.ask("PATCH", IRIS, {"metadata": {"labels": {"a": "b"}}}, media=MERGE)
    patch = {"metadata": {"resourceVersion": version, "labels": {"a": "c"}}}
    refused(api.ask("PATCH", IRIS, patch, media=MERGE), 409, "Conflict")


def test_a_patch_is_admitted_too(api: Any) -> None:
    api.create()
    patch = {"spec": {"predictor": {"bad": 1}}}
    refused(api.ask("PATCH", IRIS, patch, media=MERGE), 422, "Invalid")
    refused(api.ask("PATCH", IRIS, b"[]", media=MERGE), 422, "Invalid")


def test_a_dry_run_answers_but_keeps_nothing(api: Any, make_service: MakeService) -> None:
    heard: list[Any] = []
    api.app()
    api.store.subscribe(heard.append)
    answer = api.ask("POST", SERVICES + "?dryRun=All", make_service("iris"))
    assert answer.status_code == 201
    assert answer.json()["metadata"]["uid"]
    refused(api.ask("GET", IRIS), 404, "NotFound")
    assert heard == []
    api.create()
    assert api.ask("DELETE", IRIS + "?dryRun=All").json()["status"] == "Success"
    assert api.ask("DELETE", IRIS, {"dryRun": ["All"]}).json()["status"] == "Success"
    assert api.ask("GET", IRIS).status_code == 200
    refused(api.ask("DELETE", IRIS + "?dryRun=Some"), 400, "BadRequest")


def test_status_changes_by_its_own_path_alone(api: Any, make_service: MakeService) -> None:
    api.create()
    ready = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    changed = api.ask("PATCH", IRIS + "/status", ready, media=MERGE).json()
    assert changed["status"] == ready["status"]
    replaced = api.ask("PUT", IRIS, make_service("iris", a=1) | {"status": {}}).json()
    assert replaced["status"] == ready["status"]
    put = api.ask("PUT", IRIS + "/status", {"spec": {"predictor": {"b": 2}}, "status": {}}).json()
    assert put["spec"] == {"predictor": {"a": 1}}
    assert put["status"] == {}
    assert api.ask("GET", IRIS + "/status").json() == put


def test_scale_reads_and_writes_the_minimum_of_replicas(api: Any) -> None:
    api.create(minReplicas=2, maxReplicas=3)
    scale = api.ask("GET", IRIS + "/scale").json()
    assert (scale["kind"], scale["spec"]) == ("Scale", {"replicas": 2})
    patched = api.ask("PATCH", IRIS + "/scale", {"spec": {"replicas": 5}}, media=MERGE)
    assert patched.json()["spec"] == {"replicas": 5}
    assert api.ask("GET", IRIS).json()["spec"]["predictor"] == {"minReplicas": 5, "maxReplicas": 5}
    refused(api.ask("PUT", IRIS + "/scale", scale), 409, "Conflict")
    scale["spec"]["replicas"] = -1
    body = refused(api.ask("PUT", IRIS + "/scale", scale), 422, "Invalid")
    assert body["details"]["causes"][0]["field"] == "spec.replicas"


def test_secrets_keep_their_texts_in_base64(api: Any) -> None:
    path = "/api/v1/namespaces/default/secrets"
    given = {"metadata": {"name": "s3"}, "stringData": {"key": "abc"}, "data": {"old": "eA=="}}
    created = api.ask("POST", path, given).json()
    assert created["data"] == {"old": "eA==", "key": base64.b64encode(b"abc").decode()}
    assert "stringData" not in created
    patched = api.ask("PATCH", path + "/s3", {"stringData": {"key": "x"}}, media=MERGE).json()
    assert patched["data"]["key"] == "eA=="


def test_namespaces_come_to_be_when_used(api: Any) -> None:
    assert names(api.ask("GET", "/api/v1/namespaces")) == ["default"]
    answer = api.ask("POST", SERVICES.replace("default", "team-a"), {"metadata": {"name": "a"}})
    assert answer.status_code == 201
    assert names(api.ask("GET", "/api/v1/namespaces")) == ["default", "team-a"]
    assert api.ask("GET", "/api/v1/namespaces/team-a").json()["status"] == {"phase": "Active"}
    refused(
        api.ask("POST", SERVICES.replace("default", "Team"), {"metadata": {"name": "a"}}),
        422,
        "Invalid",
    )


def test_a_namespace_takes_its_objects_with_it(api: Any) -> None:
    api.create()
    api.ask("POST", SERVICES.replace("default", "team-a"), {"metadata": {"name": "a"}})
    assert api.ask("DELETE", "/api/v1/namespaces/team-a").status_code == 200
    everywhere = "/apis/serving.kserve.io/v1beta1/inferenceservices"
    assert names(api.ask("GET", everywhere)) == ["iris"]
    refused(api.ask("DELETE", "/api/v1/namespaces/default"), 403, "Forbidden")


def test_objects_are_kept_under_their_own_group(api: Any) -> None:
    alias = SERVICES.replace("kserve.io/v1beta1", "kubeflow.org/v1alpha2")
    created = api.ask("POST", alias, {"metadata": {"name": "old"}, "spec": {}}).json()
    assert created["apiVersion"] == "serving.kubeflow.org/v1alpha2"
    assert api.ask("GET", SERVICES + "/old").json()["apiVersion"] == "serving.kserve.io/v1beta1"
    kept = api.store.get(ObjectRef("serving.kserve.io", "inferenceservices", "default", "old"))
    assert kept["apiVersion"] == "serving.kserve.io/v1beta1"
    patch = {"spec": {"default": {}}}
    patched = api.ask("PATCH", alias + "/old", patch, media=MERGE).json()
    assert patched["apiVersion"] == "serving.kubeflow.org/v1alpha2"


def test_finalizers_keep_an_object_until_they_are_gone(api: Any) -> None:
    api.create()
    api.ask("PATCH", IRIS, {"metadata": {"finalizers": ["x/y"]}}, media=MERGE)
    marked = api.ask("DELETE", IRIS).json()
    assert marked["metadata"]["deletionTimestamp"] == "2026-01-02T03:04:05Z"
    assert api.ask("DELETE", IRIS).json()["metadata"]["finalizers"] == ["x/y"]
    kept = {"metadata": {"deletionTimestamp": None, "labels": {"a": "b"}}}
    assert "deletionTimestamp" in api.ask("PATCH", IRIS, kept, media=MERGE).json()["metadata"]
    api.ask("PATCH", IRIS, {"metadata": {"finalizers": None}}, media=MERGE)
    refused(api.ask("GET", IRIS), 404, "NotFound")


def test_orphans_outlive_their_owner(api: Any) -> None:
    uid = api.create()["metadata"]["uid"]
    owned = {"metadata": {"name": "child", "ownerReferences": [{"uid": uid}]}}
    api.ask("POST", SERVICES, owned)
    api.ask("DELETE", IRIS + "?propagationPolicy=Orphan")
    assert names(api.ask("GET", SERVICES)) == ["child"]


def test_a_deletion_may_name_what_it_means(api: Any) -> None:
    uid = api.create()["metadata"]["uid"]
    refused(api.ask("DELETE", IRIS, {"preconditions": {"uid": "other"}}), 409, "Conflict")
    assert api.ask("DELETE", IRIS, {"preconditions": {"uid": uid}}).status_code == 200


def test_a_collection_is_deleted_by_labels(api: Any) -> None:
    for name in ("a", "b", "c"):
        api.create(name)
    api.ask("PATCH", SERVICES + "/b", {"metadata": {"labels": {"team": "x"}}}, media=MERGE)
    assert names(api.ask("DELETE", SERVICES + "?labelSelector=team%3Dx")) == ["b"]
    assert names(api.ask("GET", SERVICES)) == ["a", "c"]


@pytest.mark.parametrize("selector", ["", "&labelSelector=team%20in%20(x)"])
def test_a_list_comes_in_pages(api: Any, selector: str) -> None:
    for name in "abcde":
        api.create(name)
        api.ask("PATCH", f"{SERVICES}/{name}", {"metadata": {"labels": {"team": "x"}}}, media=MERGE)
    found, token, pages = [], "", 0
    while pages == 0 or token:
        answer = api.ask("GET", f"{SERVICES}?limit=2&continue={token}{selector}")
        found += names(answer)
        token = answer.json()["metadata"].get("continue", "")
        pages += 1
    assert (found, pages) == (list("abcde"), 3)
    refused(api.ask("GET", SERVICES + "?limit=2&continue=nonsense"), 400, "BadRequest")
    refused(api.ask("GET", SERVICES + "?limit=many"), 400, "BadRequest")


def test_a_table_has_the_columns_that_kserve_prints(api: Any) -> None:
    api.create()
    status = {
        "url": "http://iris",
        "conditions": [{"type": "Ready", "status": "True"}],
        "components": {
            "predictor": {
                "latestReadyRevision": "iris-2",
                "previousRolledoutRevision": "iris-1",
                "traffic": [
                    {"revisionName": "iris-2", "latestRevision": True, "percent": 10},
                    {"revisionName": "iris-1", "tag": "prev", "percent": 90},
                ],
            }
        },
    }
    api.ask("PUT", IRIS + "/status", {"status": status})
    api.now += timedelta(minutes=3, seconds=4)
    table = api.ask("GET", SERVICES, headers=TABLE).json()
    assert table["kind"] == "Table"
    assert [column["name"].upper() for column in table["columnDefinitions"]] == [
        "NAME",
        "URL",
        "READY",
        "PREV",
        "LATEST",
        "PREVROLLEDOUTREVISION",
        "LATESTREADYREVISION",
        "AGE",
    ]
    (row,) = table["rows"]
    assert row["cells"] == ["iris", "http://iris", "True", 90, 10, "iris-1", "iris-2", "3m4s"]
    assert row["object"]["kind"] == "PartialObjectMetadata"
    one = api.ask("GET", IRIS + "?includeObject=None", headers=TABLE).json()
    assert len(one["rows"]) == 1
    assert "object" not in one["rows"][0]


def test_metadata_alone_can_be_had(api: Any) -> None:
    api.create()
    accept = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"
    listed = api.ask("GET", SERVICES, headers={"accept": accept}).json()
    assert listed["kind"] == "PartialObjectMetadataList"
    assert "spec" not in listed["items"][0]


@pytest.mark.parametrize(
    ("method", "path", "code", "reason"),
    [
        ("GET", "/apis/serving.kserve.io/v1beta1/namespaces/default/frobs", 404, "NotFound"),
        ("GET", "/apis/other.io/v1", 404, "NotFound"),
        ("GET", "/apis/other.io", 404, "NotFound"),
        ("GET", "/api/v2", 404, "NotFound"),
        ("GET", IRIS + "/scale/more", 404, "NotFound"),
        ("GET", IRIS + "/log", 404, "NotFound"),
        ("GET", "/apis/serving.kserve.io/v1beta1/inferenceservices/iris", 404, "NotFound"),
        ("POST", IRIS, 405, "MethodNotAllowed"),
        ("PUT", SERVICES, 405, "MethodNotAllowed"),
        ("DELETE", IRIS + "/status", 405, "MethodNotAllowed"),
        ("POST", "/api/v1/namespaces/default/pods", 405, "MethodNotAllowed"),
        ("DELETE", "/apis/salver.dev/v1/namespaces/default/revisions/a", 405, "MethodNotAllowed"),
    ],
)
def test_what_there_is_not_is_refused(
    api: Any, method: str, path: str, code: int, reason: str
) -> None:
    refused(api.ask(method, path), code, reason)


def test_a_request_can_be_refused_before_anything_is_done(api: Any) -> None:
    def authorise(request: Any) -> None:
        if request.headers.get("authorization") != "Bearer key":
            raise Refusal(401, "give a key")

    api.hooks["authorise"] = authorise
    refused(api.ask("GET", "/version"), 401, "Unauthorized")
    refused(api.ask("GET", IRIS), 401, "Unauthorized")
    assert api.ask("GET", "/api", headers={"authorization": "Bearer key"}).status_code == 200


def test_logs_of_a_pod_are_text(api: Any) -> None:
    path = "/api/v1/namespaces/default/pods/iris-0/log"
    answer = api.ask("GET", path)
    assert answer.text == "one\ntwo\n"
    assert answer.headers["content-type"].startswith("text/plain")
    assert api.ask("GET", path + "?tailLines=1").text == "two\n"
    assert api.ask("GET", path + "?follow=true").text == "one\ntwo\n"
    refused(api.ask("GET", path.replace("iris-0", "unknown")), 404, "NotFound")
    refused(api.ask("GET", path + "?tailLines=x"), 400, "BadRequest")


def test_events_are_found_by_what_they_are_about(api: Any) -> None:
    path = "/api/v1/namespaces/default/events"
    for name, about in (("a", "iris"), ("b", "rose")):
        event = {"metadata": {"name": name}, "involvedObject": {"name": about, "kind": "X"}}
        assert api.ask("POST", path, event).status_code == 201
    answer = api.ask("GET", path + "?fieldSelector=involvedObject.name%3Drose")
    assert names(answer) == ["b"]


def test_field_managers_are_recorded(api: Any, make_service: MakeService) -> None:
    api.create(minReplicas=1)
    patch = {"spec": {"predictor": {"minReplicas": 2}}}
    patched = api.ask("PATCH", IRIS + "?fieldManager=me", patch, media=MERGE).json()
    fields = {each["manager"]: each["fieldsV1"] for each in patched["metadata"]["managedFields"]}
    assert fields == {"me": {"f:spec": {"f:predictor": {"f:minReplicas": {}}}}}
    wanted = json.dumps(make_service("iris", minReplicas=3)).encode()
    apply = {"media": "application/apply-patch+yaml"}
    answer = api.ask("PATCH", IRIS + "?fieldManager=other", wanted, **apply)
    body = refused(answer, 409, "Conflict")
    assert body["details"]["causes"] == [
        {
            "reason": "FieldManagerConflict",
            "message": 'conflict with "me" using serving.kserve.io/v1beta1',
            "field": ".spec.predictor.minReplicas",
        }
    ]
    forced = api.ask("PATCH", IRIS + "?fieldManager=other&force=true", wanted, **apply)
    assert forced.status_code == 200
    assert [each["manager"] for each in forced.json()["metadata"]["managedFields"]] == ["other"]
    again = api.ask("PATCH", IRIS + "?fieldManager=other", wanted, **apply).json()
    assert again == forced.json(), "applying the same again changes nothing"
    refused(api.ask("PATCH", IRIS, wanted, **apply), 400, "BadRequest")


def test_applying_what_is_not_there_creates_it(api: Any, make_service: MakeService) -> None:
    wanted = json.dumps(make_service("iris", minReplicas=3)).encode()
    path = IRIS + "?fieldManager=me"
    answer = api.ask("PATCH", path, wanted, media="application/apply-patch+yaml")
    assert answer.status_code == 201
    assert answer.json()["metadata"]["managedFields"][0]["operation"] == "Apply"
