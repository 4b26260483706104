"""Discovery, OpenAPI, selectors, ages, and kubectl's protobuf."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from salver.server.apis.go_protobuf import read_object
from salver.server.apis.openapi import PROTOBUF_V2, document_v3
from salver.server.apis.paths import parse_path
from salver.server.apis.selectors import matcher
from salver.server.apis.status import Refusal
from salver.server.apis.tables import age
from salver.spec.kinds import RESOURCE_TYPES

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"
NOW = datetime(2026, 1, 2, tzinfo=UTC)


def test_groups_versions_and_types_are_discovered(api: Any) -> None:
    assert api.ask("GET", "/api").json()["versions"] == ["v1"]
    groups = {each["name"]: each for each in api.ask("GET", "/apis").json()["groups"]}
    kserve = groups["serving.kserve.io"]
    assert kserve["preferredVersion"]["version"] == "v1beta1"
    assert {each["version"] for each in kserve["versions"]} == {"v1beta1", "v1alpha1", "v1alpha2"}
    assert api.ask("GET", "/apis/serving.kserve.io").json() == {
        "kind": "APIGroup",
        "apiVersion": "v1",
        **kserve,
    }
    listed = api.ask("GET", "/apis/serving.kserve.io/v1beta1").json()
    resources = {each["name"]: each for each in listed["resources"]}
    assert resources["inferenceservices"]["shortNames"] == ["isvc"]
    assert resources["inferenceservices/scale"]["kind"] == "Scale"
    assert resources["inferenceservices/scale"]["group"] == "autoscaling"
    core = {each["name"]: each for each in api.ask("GET", "/api/v1").json()["resources"]}
    assert core["pods"]["verbs"] == ["get", "list", "watch"]
    assert not core["namespaces"]["namespaced"]


def test_all_is_discovered_in_one_document_if_asked(api: Any) -> None:
    answer = api.ask("GET", "/apis", headers={"accept": AGGREGATED})
    assert "as=APIGroupDiscoveryList" in answer.headers["content-type"]
    groups = {each["metadata"]["name"]: each for each in answer.json()["items"]}
    (service,) = [
        each
        for version in groups["serving.kserve.io"]["versions"]
        for each in version["resources"]
        if version["version"] == "v1beta1" and each["resource"] == "inferenceservices"
    ]
    assert service["scope"] == "Namespaced"
    assert [each["subresource"] for each in service["subresources"]] == ["status", "scale"]
    (alias,) = [
        each
        for version in groups["serving.kubeflow.org"]["versions"]
        for each in version["resources"]
        if version["version"] == "v1beta1" and each["resource"] == "inferenceservices"
    ]
    assert alias["shortNames"] == [], "two groups with one short name make clients warn"
    core = api.ask("GET", "/api", headers={"accept": AGGREGATED}).json()
    assert [each["metadata"]["name"] for each in core["items"]] == [""]


def test_the_openapi_index_leads_to_every_version(api: Any) -> None:
    paths = api.ask("GET", "/openapi/v3").json()["paths"]
    assert {"api/v1", "apis/serving.kserve.io/v1beta1"} <= set(paths)
    for each in paths.values():
        document = api.ask("GET", each["serverRelativeURL"]).json()
        assert document["components"]["schemas"]
    assert api.ask("GET", "/openapi/v3/apis/other.io/v1").status_code == 404
    assert api.ask("GET", "/openapi/v2").json()["swagger"] == "2.0"
    protobuf = {"accept": "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"}
    assert api.ask("GET", "/openapi/v2", headers=protobuf).content == PROTOBUF_V2


def test_definitions_of_a_schema_become_components() -> None:
    def schema_of(type: Any, version: str) -> dict[str, Any]:
        return {
            "$ref": "#/$defs/Top",
            "$defs": {
                "Top": {"type": "object", "properties": {"spec": {"$ref": "#/$defs/Spec"}}},
                "Spec": {"type": "array", "items": {"$ref": "#/$defs/Spec"}},
            },
        }

    document = document_v3(RESOURCE_TYPES, "serving.kserve.io", "v1alpha2", schema_of)
    assert document is not None
    name = "io.kserve.serving.v1alpha2.InferenceService"
    schemas = document["components"]["schemas"]
    reference = {"$ref": f"#/components/schemas/{name}.Spec"}
    assert schemas[name]["properties"]["spec"] == reference
    assert schemas[f"{name}.Spec"]["items"] == reference
    assert set(schemas[name]["properties"]) == {"apiVersion", "kind", "metadata", "spec"}
    (path,) = document["paths"].values()
    assert "fieldValidation" in [each["name"] for each in path["patch"]["parameters"]]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/api/v1/namespaces", ("namespaces", "", "", "")),
        ("/api/v1/namespaces/a", ("namespaces", "", "a", "")),
        ("/api/v1/namespaces/a/status", ("namespaces", "", "a", "status")),
        ("/api/v1/namespaces/a/pods", ("pods", "a", "", "")),
        ("/api/v1/namespaces/a/pods/b/log", ("pods", "a", "b", "log")),
        ("/api/v1/pods", ("pods", "", "", "")),
        ("/api/v1/pods/b", None),
        ("/api/v1/namespaces/a/namespaces", None),
        ("/apis/serving.kserve.io/v1alpha1/clusterservingruntimes/x",
         ("clusterservingruntimes", "", "x", "")),
        ("/apis/serving.kserve.io/v1alpha1/namespaces/a/clusterservingruntimes", None),
        ("/apis/serving.kserve.io/v1alpha2/namespaces/a/inferenceservices/x/scale",
         ("inferenceservices", "a", "x", "scale")),
        ("/apis/serving.kserve.io/v1/namespaces/a/inferenceservices", None),
        ("/apis//v1/pods", None),
        ("/api/v1/namespaces//pods", None),
        ("/other/v1/pods", None),
    ],
)  # fmt: skip
def test_paths_name_types_and_objects(path: str, expected: tuple[str, ...] | None) -> None:
    found = parse_path(RESOURCE_TYPES, path)
    got = found and (found.type.plural, found.namespace, found.name, found.subresource)
    assert got == expected


@pytest.mark.parametrize(
    ("labels", "fields", "is_match"),
    [
        ("a=1", "", True),
        ("a==1,b=2", "", True),
        ("a!=1", "", False),
        ("c!=1", "", True),
        ("a in (1, 2),b", "", True),
        ("a notin (1,2)", "", False),
        ("c notin (1)", "", True),
        ("!c", "", True),
        ("!a", "", False),
        ("c", "", False),
        ("x/y.z=t", "", True),
        ("", "metadata.name=iris", True),
        ("", "metadata.name!=iris", False),
        ("", "involvedObject.kind=", True),
        ("a=1", "metadata.namespace=other", False),
    ],
)
def test_selectors_match(labels: str, fields: str, is_match: bool) -> None:
    metadata = {"name": "iris", "namespace": "ns", "labels": {"a": "1", "b": "2", "x/y.z": "t"}}
    matches = matcher(labels, fields)
    assert matches is not None
    assert matches({"metadata": metadata}) is is_match


@pytest.mark.parametrize(
    ("labels", "fields"), [("a in 1", ""), ("a>1", ""), ("", "spec.x=1"), ("", "nonsense")]
)
def test_a_selector_that_cannot_be_read_is_refused(labels: str, fields: str) -> None:
    with pytest.raises(Refusal) as caught:
        matcher(labels, fields)
    assert caught.value.code == 400


def test_no_selector_is_no_predicate() -> None:
    assert matcher("", " ") is None


@pytest.mark.parametrize(
    ("passed", "text"),
    [
        (timedelta(seconds=-5), "0s"),
        (timedelta(seconds=119), "119s"),
        (timedelta(minutes=3), "3m"),
        (timedelta(minutes=3, seconds=7), "3m7s"),
        (timedelta(minutes=100), "100m"),
        (timedelta(hours=3, minutes=2), "3h2m"),
        (timedelta(hours=20), "20h"),
        (timedelta(days=3, hours=4), "3d4h"),
        (timedelta(days=100), "100d"),
        (timedelta(days=800), "2y"),
    ],
)
def test_ages_are_written_as_kubectl_does(passed: timedelta, text: str) -> None:
    assert age((NOW - passed).isoformat(), NOW) == text


def test_an_age_of_nothing_is_unknown() -> None:
    assert age(None, NOW) == "<unknown>"


def field(number: int, value: bytes | int) -> bytes:
    if isinstance(value, int):
        return bytes([number << 3, value])
    return bytes([number << 3 | 2, len(value)]) + value


SECRET = (
    b"k8s\x00"
    + field(1, field(1, b"v1") + field(2, b"Secret"))
    + field(
        2,
        field(
            1,
            field(1, b"s3")
            + field(2, b"")
            + field(8, b"")
            + field(11, field(1, b"team") + field(2, b"a"))
            + field(14, b"x/y"),
        )
        + field(2, field(1, b"key") + field(2, b"abc"))
        + field(3, b"Opaque")
        + field(5, 1),
    )
)


def test_an_object_in_protobuf_is_read() -> None:
    assert read_object(SECRET) == {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "s3", "labels": {"team": "a"}, "finalizers": ["x/y"]},
        "data": {"key": "YWJj"},
        "type": "Opaque",
        "immutable": True,
    }


def test_another_kind_in_protobuf_is_refused() -> None:
    unknown = b"k8s\x00" + field(1, field(1, b"v1") + field(2, b"Node"))
    with pytest.raises(ValueError, match="the kind Node is read as JSON or YAML only"):
        read_object(unknown)


@given(st.data())
def test_broken_protobuf_is_an_error_and_never_more(data: st.DataObject) -> None:
    broken = bytearray(SECRET)
    at = data.draw(st.integers(4, len(SECRET) - 1))
    broken[at] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(SECRET)))
    for body in (bytes(broken), SECRET[:cut]):
        with contextlib.suppress(ValueError):
            assert isinstance(read_object(body), dict)


@pytest.mark.parametrize("path", ["/version", "/api", "/apis", "/apis/serving.kserve.io/v1beta1"])
def test_a_slash_at_the_end_means_the_same(api: Any, path: str) -> None:
    assert api.ask("GET", f"{path}/").json() == api.ask("GET", path).json()
