"""Which targets of `serve` are manifests."""

from __future__ import annotations

from pathlib import Path

import pytest

from salver.cli.manifest_targets import split_targets

SERVICE = "apiVersion: serving.kserve.io/v1beta1\nkind: InferenceService\n"


@pytest.mark.parametrize(
    ("name", "text", "is_manifest"),
    [
        ("a.yaml", SERVICE, True),
        ("a.yml", "# a comment\n---\n" + SERVICE, True),
        ("a.yaml", "- kind: Secret\n  apiVersion: v1\n", True),
        ("a.json", '{"kind":"List","apiVersion":"v1","items":[]}', True),
        ("a.json", '{"apiVersion": "v1", "kind": "Secret"}', True),
        ("a.txt", SERVICE, False),
        ("model.json", '{"learner": {"kind": 3}}', False),
        ("conda.yaml", "name: env\ndependencies: []\n", False),
        ("MLmodel.yaml", "flavors: {}\n", False),
    ],
)
def test_manifests_are_told_by_their_content(
    tmp_path: Path, name: str, text: str, is_manifest: bool
) -> None:
    path = tmp_path / name
    path.write_text(text)
    found = ([str(path)], []) if is_manifest else ([], [str(path)])
    assert split_targets([str(path)]) == found


def test_a_folder_counts_if_manifests_are_all_that_is_in_it(tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text(SERVICE)
    assert split_targets([str(tmp_path)]) == ([str(tmp_path)], [])
    (tmp_path / "model.joblib").write_bytes(b"x")
    assert split_targets([str(tmp_path)]) == ([], [str(tmp_path)])


def test_an_empty_folder_and_what_is_not_there_are_left_to_others(tmp_path: Path) -> None:
    targets = [str(tmp_path), str(tmp_path / "gone.yaml"), "s3://bucket/model"]
    assert split_targets(targets) == ([], targets)
