"""Whose the folders of routers are, in the state directory: a graph owns one, and takes it along.

What was learned belongs to the graph that learned it, and is deleted with it; another graph of its
name inherits nothing. Who wants to keep it says so in the graph's annotation `salver.dev/keep-
learned: "true"`: then the next graph of that name goes on with it. The owner is written into the
folder, so that a crash between the two deletions leaves nothing for others.

    routers/NAMESPACE/GRAPH/owner.json
    routers/NAMESPACE/GRAPH/STEP/...        see `router_log.py`
"""

from __future__ import annotations

import itertools
import logging
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from urllib.parse import quote, unquote

import msgspec

from salver.backends.state.router_segments import sync_folder
from salver.engine.learning_ports import RouterName
from salver.errors import StartupError

logger = logging.getLogger("salver.state")

KEEP = "salver.dev/keep-learned"
_OWNER = "owner.json"
_GONE = ".gone-"
"""Begins the name of a folder that is being deleted; names of ours begin with no dot."""


class Owner(msgspec.Struct, frozen=True):
    """The object that a graph is made of; `keeps`: what was learned outlives it."""

    group: str
    plural: str
    namespace: str
    name: str
    uid: str
    keeps: bool = False


IsThere = Callable[[Owner], bool]


class RouterFolders:
    """The folders below `root`. `delete` may be called in a thread."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._owners: dict[tuple[str, str], Owner] = {}
        self._numbers = itertools.count()

    def of_router(self, name: RouterName) -> Path:
        """The router's folder, which is there from now on. Raises `StartupError`."""
        folder = self._of_graph(name.namespace, name.graph) / _file_name(name.step)
        try:
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        except OSError as error:
            raise _unusable(folder, f"router {name}", error) from error
        return folder

    def claim(self, namespace: str, graph: str, owner: Owner) -> None:
        """The graph's folder is this owner's from now on; what another one left in it is deleted,
        unless it was to be kept. Raises `StartupError`."""
        folder = self._of_graph(namespace, graph)
        try:
            former = _owner_of(folder)
            if former is not None and former.uid != owner.uid and not former.keeps:
                self._delete(folder)
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            _write_owner(folder, owner)
        except OSError as error:
            raise _unusable(folder, f"graph {namespace}/{graph}", error) from error
        self._owners[namespace, graph] = owner

    def is_of(self, namespace: str, graph: str, owner: Owner) -> bool:
        """Whether this owner has claimed it already."""
        return self._owners.get((namespace, graph)) == owner

    def note(self, owner: Owner) -> bool:
        """The owner's annotation may be another by now; whether it has claimed a graph."""
        for (namespace, graph), known in self._owners.items():
            if known.uid == owner.uid:
                if known != owner:
                    self._owners[namespace, graph] = owner
                    self._keep_owner(self._of_graph(namespace, graph), owner)
                return True
        return False

    def leave(self, owner: Owner, graphs: Iterable[str]) -> None:
        """The owner is gone, and had claimed none of these graphs at the end: what it learned in
        them before is deleted, or kept if that is its last word."""
        for graph in graphs:
            folder = self._of_graph(owner.namespace, graph)
            former = _owner_of(folder)
            if former is None or former.uid != owner.uid:
                continue
            if owner.keeps:
                self._keep_owner(folder, owner)
            else:
                self.delete(owner.namespace, graph)

    def release(self, namespace: str, graph: str) -> Owner | None:
        """Nobody uses the graph's folder now; gives whose it was."""
        return self._owners.pop((namespace, graph), None)

    def delete(self, namespace: str, graph: str) -> None:
        """What was learned is no more."""
        folder = self._of_graph(namespace, graph)
        try:
            self._delete(folder)
        except OSError as error:
            logger.error("what was learned in %s cannot be deleted: %s", folder, error)

    def sweep(self, is_there: IsThere) -> None:
        """Deletes what was left behind. To be called before any folder is used."""
        for path in sorted(self.root.glob(f"*/*/{_OWNER}")):
            owner = _owner_of(path.parent)
            is_gone = path.parent.name.startswith(_GONE)
            if not is_gone and owner is not None and not owner.keeps and not is_there(owner):
                self.delete(unquote(path.parent.parent.name), unquote(path.parent.name))
        for folder in self.root.glob(f"*/{_GONE}*"):
            shutil.rmtree(folder, ignore_errors=True)

    def _keep_owner(self, folder: Path, owner: Owner) -> None:
        try:
            _write_owner(folder, owner)
        except OSError as error:
            logger.error("whose %s is cannot be written down: %s", folder, error)

    def _of_graph(self, namespace: str, graph: str) -> Path:
        return self.root / _file_name(namespace) / _file_name(graph)

    def _delete(self, folder: Path) -> None:
        """Its name is free at once, and after a crash too. Raises `OSError`."""
        gone = folder.with_name(f"{_GONE}{os.getpid()}-{next(self._numbers)}")
        folder.rename(gone)
        sync_folder(folder.parent)
        shutil.rmtree(gone, ignore_errors=True)


def _file_name(part: str) -> str:
    # A dot alone would lead out of the folder.
    return quote(part, safe="").replace(".", "%2E")


def _owner_of(folder: Path) -> Owner | None:
    """None if nobody's, or of a version that wrote it otherwise. Raises `OSError`."""
    try:
        return msgspec.json.decode((folder / _OWNER).read_bytes(), type=Owner)
    except (FileNotFoundError, msgspec.MsgspecError):
        return None


def _write_owner(folder: Path, owner: Owner) -> None:
    new = folder / f"{_OWNER}.new"
    with new.open("wb") as file:
        file.write(msgspec.json.encode(owner))
        file.flush()
        os.fsync(file.fileno())
    new.replace(folder / _OWNER)
    sync_folder(folder)


def _unusable(folder: Path, whose: str, error: OSError) -> StartupError:
    return StartupError(
        f"cannot use the folder {folder} of {whose}: {error.strerror or error}; make it writable, "
        "or choose another with --state-dir"
    )
