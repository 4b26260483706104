import hashlib
from pathlib import Path

import pytest

from salver.errors import StorageError
from salver.storage.transfer import Transfer
from salver.storage.tree import digest_of, facts_of, hash_of, inner_path, stat_digest

TRANSFER = Transfer("s3://b/a", 100, lambda: 0.0)


@pytest.mark.parametrize("name", ["/etc/passwd", "../a", "a/../../b", "", ".", "a/..", "a\0b"])
def test_a_name_that_leads_out_is_refused(name: str) -> None:
    with pytest.raises(StorageError, match="refused"):
        inner_path(name, "s3://b/a")


@pytest.mark.parametrize(("name", "path"), [("./a//b", "a/b"), ("a b", "a b"), ("..a", "..a")])
def test_a_name_that_stays_inside_is_tidied(name: str, path: str) -> None:
    assert inner_path(name, "s3://b/a") == path


def test_the_digest_knows_names_and_content_but_not_times(tmp_path: Path) -> None:
    digests = []
    for folder, name, body in (
        ("1", "m", b"x"),
        ("2", "m", b"x"),
        ("3", "n", b"x"),
        ("4", "m", b"y"),
    ):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_bytes(body)
        digests.append(digest_of(facts_of(tmp_path / folder, TRANSFER)))
    assert digests[0] == digests[1]
    assert len(set(digests)) == 3


def test_a_git_blob_is_hashed_as_git_does(tmp_path: Path) -> None:
    path = tmp_path / "f"
    path.write_bytes(b"hello\n")
    assert hash_of(path, "git-blob", TRANSFER) == "ce013625030ba8dba906f756967f9e9ca394464a"
    assert hash_of(path, "sha256", TRANSFER) == hashlib.sha256(b"hello\n").hexdigest()


def test_links_must_stay_inside_even_through_other_links(tmp_path: Path) -> None:
    root = tmp_path / "root"
    (root / "a" / "b").mkdir(parents=True)
    (root / "here").symlink_to(".")
    (root / "inner").symlink_to("a/b")
    assert facts_of(root, TRANSFER)
    (root / "out").symlink_to("here/..")
    with pytest.raises(StorageError, match="leads out of the model"):
        facts_of(root, TRANSFER)


def test_a_folder_in_use_has_a_digest_that_sees_changes(tmp_path: Path) -> None:
    (tmp_path / "m").write_bytes(b"1")
    before = stat_digest(tmp_path)
    (tmp_path / "m").write_bytes(b"22")
    assert stat_digest(tmp_path) != before
    assert stat_digest(tmp_path)[1] == 2
