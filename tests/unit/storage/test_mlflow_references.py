"""MLflow's URIs taken apart, and what refuses them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from salver.errors import StorageError
from salver.storage.mlflow_references import Reference, parse_reference
from salver.storage.sources.mlflow import FolderReader
from salver.storage.sources.mlflow_tracking import RestTracking, tracking_at
from salver.storage.transfer import Transfer
from salver.storage.uris import parse_location, scheme_of

MODEL_ID = "m-" + "0a" * 16


@pytest.mark.parametrize(
    ("uri", "reference"),
    [
        ("models:/iris/3", Reference(name="iris", version="3")),
        ("models:/iris/Production", Reference(name="iris", version="Production")),
        ("models:/a b@champion", Reference(name="a b", alias="champion")),
        (f"models:/{MODEL_ID}", Reference(model_id=MODEL_ID)),
        ("runs:/abc/model/x", Reference(run_id="abc", path="model/x")),
    ],
)
def test_a_uri_is_taken_apart(uri: str, reference: Reference) -> None:
    assert parse_reference(uri) == reference
    assert parse_location(uri).kind == "mlflow"
    assert scheme_of(uri) == uri.partition(":")[0]


@pytest.mark.parametrize(
    "uri", ["models:/", "models:/iris", "models:/a/b/c", "models:/../1", "runs:/x", "runs:/x/../y"]
)
def test_another_form_is_refused_with_those_there_are(uri: str) -> None:
    with pytest.raises(StorageError, match="models:/NAME/VERSION"):
        parse_reference(uri)


def test_paths_that_look_alike_are_paths() -> None:
    for text in ("models", "models/iris", "./models:/x", "C:/models"):
        assert scheme_of(text) == ""


def transfer(uri: str = "models:/iris/1") -> Transfer:
    return Transfer(uri, 10.0, lambda: 0.0)


def answers(known: dict[str, Any]) -> Any:
    def get(url: str, transfer: Transfer) -> bytes:
        return json.dumps(known[url.removeprefix("http://t/api/2.0/mlflow/")]).encode()

    return get


def test_an_alias_and_a_stage_lead_to_a_version() -> None:
    known = {
        "registered-models/alias?name=iris&alias=best": {"model_version": {"version": "2"}},
        "registered-models/get?name=iris": {
            "registered_model": {
                "latest_versions": [
                    {"current_stage": "None", "version": "10"},
                    {"current_stage": "Staging", "version": "9"},
                ]
            }
        },
        **{
            f"model-versions/get-download-uri?name=iris&version={each}": {
                "artifact_uri": f"s3://b/{each}"
            }
            for each in ("2", "9", "10")
        },
    }
    tracking = RestTracking("http://t", answers(known))
    for uri, wanted in {
        "models:/iris@best": "s3://b/2",
        "models:/iris/staging": "s3://b/9",
        "models:/iris/latest": "s3://b/10",
        "models:/iris/2": "s3://b/2",
    }.items():
        assert tracking.artifact_uri(parse_reference(uri), transfer(uri)) == wanted
    with pytest.raises(StorageError, match="no version is at 'Production'"):
        tracking.artifact_uri(parse_reference("models:/iris/Production"), transfer())


@pytest.mark.parametrize("answer", [{}, [], 3, None, {"artifact_uri": None, "x": 1}, {"model": 1}])
def test_a_server_that_is_not_mlflow_s_is_named(answer: Any) -> None:
    tracking = RestTracking("http://t", lambda url, transfer: json.dumps(answer).encode())
    reference = Reference(model_id=MODEL_ID)
    with pytest.raises(StorageError, match="does not answer as MLflow's does"):
        tracking.artifact_uri(reference, transfer())


def test_an_unknown_kind_of_store_is_named() -> None:
    for uri in ("databricks", "postgresql://u:p@h/db", ""):
        with pytest.raises(StorageError, match="is not known") as refused:
            tracking_at(uri, lambda url, transfer: b"")
        assert "u:p" not in str(refused.value)


def test_links_that_lead_out_of_the_folder_are_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "MLmodel").write_text("")
    (folder / "out").symlink_to(tmp_path / "secret")
    found = FolderReader(folder).listing(transfer())
    assert [entry.name for entry in found.entries] == ["MLmodel"]


BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join(['*' + before] * 9)}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


def asked_of(folder: Path, uri: str) -> str:
    transfer = Transfer(uri, 10.0, lambda: 0.0)
    return tracking_at(str(folder), lambda url, _: b"").artifact_uri(parse_reference(uri), transfer)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (BOMB.encode() + b"source: *i\n", "aliases stand for more"),
        (b"[" * 100_000, "nested deeper"),
        (b"source: [1", "cannot be read .line 1"),
        (bytes(2 << 20), "larger than 1 MiB"),
        (b"\x00\xff", "cannot be read"),
        (b"!!python/object/apply:os.system ['true']", "is not allowed"),
    ],
)
def test_a_folder_s_descriptions_are_read_within_bounds(
    tmp_path: Path, content: bytes, message: str
) -> None:
    file = tmp_path / "models" / "iris" / "version-1" / "meta.yaml"
    file.parent.mkdir(parents=True)
    file.write_bytes(content)
    for uri in ("models:/iris/1", "models:/iris/latest"):
        with pytest.raises(StorageError, match=message) as refused:
            asked_of(tmp_path, uri)
        assert "\n" not in str(refused.value)
        assert "is it MLflow's?" in str(refused.value)


def test_a_version_that_is_no_number_is_the_oldest(tmp_path: Path) -> None:
    for version in ("9", "10", "x"):
        file = tmp_path / "models" / "iris" / f"version-{version}" / "meta.yaml"
        file.parent.mkdir(parents=True)
        file.write_text(f"version: '{version}'\nsource: /models/{version}\n")
    assert asked_of(tmp_path, "models:/iris/latest") == "/models/10"


def test_an_answer_nested_without_end_is_none_of_mlflow_s() -> None:
    transfer = Transfer("models:/iris/1", 10.0, lambda: 0.0)
    tracking = RestTracking("http://tracking", lambda url, _: b"[" * 200_000)
    with pytest.raises(StorageError, match="does not answer as MLflow's does"):
        tracking.artifact_uri(parse_reference("models:/iris/1"), transfer)
