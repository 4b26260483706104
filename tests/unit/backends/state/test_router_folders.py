"""Whose the folders of routers are: what goes with a graph, and what outlives it."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import pytest

from salver.backends.state import router_folders
from salver.backends.state.router_folders import Owner, RouterFolders
from salver.engine.learning_ports import RouterName
from salver.errors import StartupError

ONE = Owner("salver.dev", "graphs", "default", "shop", "uid-1")
TWO = msgspec.structs.replace(ONE, uid="uid-2")


def keeping(owner: Owner) -> Owner:
    return msgspec.structs.replace(owner, keeps=True)


def nobody(owner: Owner) -> bool:
    return False


def everybody(owner: Owner) -> bool:
    return True


def learn(folders: RouterFolders, graph: str = "shop", namespace: str = "default") -> Path:
    """Something that a router of the graph has learned."""
    path = folders.of_router(RouterName(namespace, graph, "pick")) / "1.log"
    path.write_text("learned")
    return path


def learned_by(root: Path, owner: Owner) -> Path:
    """The same, of a process that is gone."""
    folders = RouterFolders(root)
    folders.claim("default", "shop", owner)
    return learn(folders)


def test_a_graph_goes_on_with_what_it_has_learned(tmp_path: Path) -> None:
    path = learned_by(tmp_path, ONE)
    again = RouterFolders(tmp_path)
    again.claim("default", "shop", ONE)
    assert path.exists()
    assert again.is_of("default", "shop", ONE)
    assert not again.is_of("default", "shop", keeping(ONE))


def test_another_graph_of_the_name_inherits_nothing(tmp_path: Path) -> None:
    path = learned_by(tmp_path, ONE)
    RouterFolders(tmp_path).claim("default", "shop", TWO)
    assert not path.exists()
    assert [each.name for each in (tmp_path / "default").iterdir()] == ["shop"]


def test_another_graph_of_the_name_inherits_what_was_to_be_kept_and_decides_anew(
    tmp_path: Path,
) -> None:
    path = learned_by(tmp_path, keeping(ONE))
    RouterFolders(tmp_path).claim("default", "shop", TWO)
    assert path.exists()
    RouterFolders(tmp_path).claim("default", "shop", ONE)
    assert not path.exists()


def test_an_annotation_that_comes_later_counts(tmp_path: Path) -> None:
    folders = RouterFolders(tmp_path)
    folders.claim("default", "shop", ONE)
    path = learn(folders)
    assert folders.note(keeping(ONE))
    assert folders.release("default", "shop") == keeping(ONE)
    RouterFolders(tmp_path).sweep(nobody)
    assert path.exists()


def test_another_object_of_the_name_does_not_count(tmp_path: Path) -> None:
    folders = RouterFolders(tmp_path)
    folders.claim("default", "shop", ONE)
    assert not folders.note(keeping(TWO))
    assert folders.release("default", "shop") == ONE
    assert folders.release("default", "shop") is None


def test_what_is_deleted_is_gone_and_its_name_is_free(tmp_path: Path) -> None:
    folders = RouterFolders(tmp_path)
    folders.claim("default", "shop", ONE)
    path = learn(folders)
    folders.delete("default", "shop")
    assert list((tmp_path / "default").iterdir()) == []
    folders.claim("default", "shop", TWO)
    assert learn(folders) == path


def test_a_graph_that_was_stopped_when_it_was_deleted_takes_its_own_along(tmp_path: Path) -> None:
    path = learned_by(tmp_path, ONE)
    folders = RouterFolders(tmp_path)
    folders.leave(TWO, ["shop"])
    assert path.exists()
    folders.leave(ONE, ["other", "shop"])
    assert not path.exists()


def test_the_last_word_of_a_stopped_graph_may_be_to_keep_it(tmp_path: Path) -> None:
    path = learned_by(tmp_path, ONE)
    RouterFolders(tmp_path).leave(keeping(ONE), ["shop"])
    RouterFolders(tmp_path).sweep(nobody)
    assert path.exists()


def test_what_a_crash_left_behind_is_swept_up_and_the_rest_stays(tmp_path: Path) -> None:
    folders = RouterFolders(tmp_path)
    paths = {}
    for name in ("there", "gone", "kept", "a.b"):
        owner = msgspec.structs.replace(ONE, name=name, uid=name, keeps=name == "kept")
        folders.claim("default", name, owner)
        paths[name] = learn(folders, name)
    unowned = learn(folders, "unowned")
    half = tmp_path / "default" / ".gone-1-0"
    shutil.copytree(tmp_path / "default" / "gone", half)
    RouterFolders(tmp_path).sweep(lambda owner: owner.name == "there")
    assert [name for name, path in paths.items() if path.exists()] == ["there", "kept"]
    assert unowned.exists() and not half.exists()


def test_an_owner_that_cannot_be_read_owns_nothing(tmp_path: Path) -> None:
    path = learned_by(tmp_path, ONE)
    (tmp_path / "default" / "shop" / "owner.json").write_text("{")
    folders = RouterFolders(tmp_path)
    folders.sweep(nobody)
    folders.claim("default", "shop", TWO)
    assert path.exists()


def test_a_folder_that_cannot_be_used_is_named_with_a_way_out(tmp_path: Path) -> None:
    (tmp_path / "default").write_text("")
    folders = RouterFolders(tmp_path)
    with pytest.raises(StartupError, match=r"default/shop of graph default/shop.*--state-dir"):
        folders.claim("default", "shop", ONE)
    with pytest.raises(StartupError, match=r"of router default/shop/pick.*--state-dir"):
        learn(folders)


def test_what_cannot_be_deleted_is_told_and_stops_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(folder: Path) -> None:
        raise OSError(5, "Input/output error")

    path = learned_by(tmp_path, ONE)
    monkeypatch.setattr(router_folders, "sync_folder", broken)
    RouterFolders(tmp_path).sweep(nobody)
    assert "cannot be deleted" in caplog.text
    assert not path.exists()


def test_nothing_is_swept_while_all_owners_are_there(tmp_path: Path) -> None:
    path = learned_by(tmp_path, ONE)
    RouterFolders(tmp_path).sweep(everybody)
    RouterFolders(tmp_path / "none").sweep(nobody)
    assert path.exists()
