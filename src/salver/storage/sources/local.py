"""Files and folders of this machine. Only an archive is copied, to unpack it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from salver.errors import StorageError
from salver.storage.ports import Body, Entry, Listing
from salver.storage.transfer import Transfer

_CHUNK = 1 << 20


class LocalArchive:
    """One archive on disk, read like any other source."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def listing(self, transfer: Transfer) -> Listing:
        """Its size and time of change."""
        status = self._path.stat()
        version = f"{status.st_ino}-{status.st_mtime_ns}-{status.st_size}"
        entry = Entry(self._path.name, status.st_size, version)
        return Listing((entry,), version, is_file=True)

    @contextmanager
    def read(self, entry: Entry, offset: int, transfer: Transfer) -> Iterator[Body]:
        """From the offset on."""
        with self._path.open("rb") as file:
            file.seek(offset)
            yield Body(offset, iter(lambda: file.read(_CHUNK), b""))


def local_path(text: str, uri: str) -> Path:
    """The path of a local artifact. Raises `StorageError` if nothing readable is there."""
    path = Path(text).expanduser().absolute()
    try:
        if path.is_dir():
            next(path.iterdir(), None)
        else:
            with path.open("rb"):
                pass
    except FileNotFoundError as error:
        raise StorageError(f"{uri}: {path} is not there; check the path") from error
    except OSError as error:
        raise StorageError(f"{uri}: {path} cannot be read ({error.strerror}); check it") from error
    return path


def claim_path(root: Path, claim: str, within: str, uri: str) -> Path:
    """The path of a claim's folder and what is named in it."""
    folder = root / claim
    if claim in ("", ".", "..") or ".." in within.split("/"):
        raise StorageError(f"{uri}: it leads out of the claim's folder; refused")
    if not folder.is_dir():
        raise StorageError(
            f"{uri}: claim '{claim}' has no folder {folder}; make it, or map pvc://{claim} to one"
        )
    return local_path(str(folder / within) if within else str(folder), uri)
