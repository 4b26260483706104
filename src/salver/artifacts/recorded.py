"""Reads which library versions a model file records, without loading it: no code of it runs.

scikit-learn writes its version into every estimator's state, XGBoost into its JSON, UBJSON and
old binary format. LightGBM's text and ONNX carry versions of their formats, which newer
libraries go on reading, so they say nothing here. Refuses to say what is to be installed.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, cast

import msgspec

from salver.artifacts.pickles import PICKLE_START
from salver.artifacts.zip_files import UNREADABLE_ZIP

_CHUNK_BYTES = 64 << 10
"""Searching a chunk holds the interpreter, and others' requests wait for it."""
_MAX_SCHEMA_BYTES = 16 << 20
_OVERLAP_BYTES = 256
_MAX_BYTES = 1 << 30
"""So much of a file is read, decompressed; a version further back is not found."""
_END_BYTES = 4096

_PICKLED_STRING = rb"(?:\x8c.|X....|U.|T....|V|S')"
_MEMO = rb"(?:q.|r....|\x94|\n?p\d+\n)?"
_VERSION = rb"(\d+(?:\.\d+)+(?:(?:\.?(?:dev|post)|a|b|rc)\d+)?)"
_SKLEARN_IN_PICKLE = re.compile(
    rb"_sklearn_version'?" + _MEMO + _PICKLED_STRING + _VERSION, re.DOTALL
)
_SKLEARN_IN_SKOPS = re.compile(
    rb'"_sklearn_version":\s*\{[^{}]*"content":\s*"\\"' + _VERSION + rb'\\""'
)
_XGBOOST_IN_UBJSON = re.compile(rb"version\[#L\0{7}\x03i(.)i(.)i(.)", re.DOTALL)
_XGBOOST_IN_JSON = re.compile(rb'"version"\s*:\s*\[\s*(\d+)\s*,\s*(\d+)\s*,\s*(\d+)\s*\]')
_MODULE = re.compile(
    rb"(?:catboost|category_encoders|feature_engine|imblearn|lightgbm|pandas|scipy|sklearn|"
    rb"statsmodels|xgboost)(?=\.)|numpy\._core"
)
_XGBOOST_BINARY_HEAD = struct.Struct("<fIIIIII")
"""base_score, num_feature, num_class, two flags, major and minor version."""
_XGBOOST_BINARY_NAME_OFFSET = 136
_ZLIB = (b"x\x01", b"x^", b"x\x9c", b"x\xda")
_XZ = (b"\xfd7zXZ", b"]\x00\x00")
_COMPRESSED = (b"\x1f\x8b", b"BZh", *_XZ, *_ZLIB)
_OBJECTIVE = re.compile(rb"[a-z]+:[a-z_:]+\Z")


class Recorded(msgspec.Struct, frozen=True):
    """What a model file says of the libraries that wrote it; empty where it says nothing.

    `modules` are the packages that a pickle names, among those known here. `is_pickle` counts
    skops files too: they hold objects of a library, not a format of its own.
    """

    scikit_learn: str = ""
    xgboost: str = ""
    is_xgboost_binary: bool = False
    is_pickle: bool = False
    is_skops: bool = False
    modules: tuple[str, ...] = ()


def recorded_in(path: Path) -> Recorded:
    """What the file at `path` records; nothing if it cannot be read or is no such file."""
    if not path.is_file():
        return Recorded()
    try:
        with path.open("rb") as file:
            head = file.read(_END_BYTES)
            end = _end_of(file)
    except OSError:
        return Recorded()
    if head.startswith(b"PK\x03\x04"):
        return _skops(path)
    binary = xgboost_binary_version(head)
    if binary is not None:
        return Recorded(xgboost=binary, is_xgboost_binary=True)
    if head.lstrip().startswith(b"{"):
        return Recorded(xgboost=_xgboost_version(end) or _xgboost_version(head))
    if head.startswith((b"tree\n", b"tree\r\n")):
        return Recorded()
    # Only these are worth a search from end to end: weights of gigabytes record nothing.
    is_pickle = PICKLE_START.match(head) or head.startswith(_COMPRESSED)
    return _pickle(path, head) if is_pickle else Recorded()


def xgboost_binary_version(head: bytes) -> str | None:
    """The version in a model of XGBoost's old binary format (empty if it is too old to have
    one); None if `head`, a file's beginning, is of no such model.
    """
    body = head[4:] if head.startswith(b"binf") else head
    if len(body) < _XGBOOST_BINARY_NAME_OFFSET + 8:
        return None
    (length,) = struct.unpack_from("<Q", body, _XGBOOST_BINARY_NAME_OFFSET)
    start = _XGBOOST_BINARY_NAME_OFFSET + 8
    if not (3 <= length <= 64 and _OBJECTIVE.match(body[start : start + length])):
        return None
    *_, major, minor = _XGBOOST_BINARY_HEAD.unpack_from(body)
    return f"{major}.{minor}" if 1 <= major < 100 and minor < 100 else ""


def _end_of(file: BinaryIO) -> bytes:
    size = file.seek(0, 2)
    file.seek(max(0, size - _END_BYTES))
    return file.read(_END_BYTES)


def _skops(path: Path) -> Recorded:
    try:
        with zipfile.ZipFile(path) as archive:
            with archive.open("schema.json") as schema:
                text = schema.read(_MAX_SCHEMA_BYTES)
    except UNREADABLE_ZIP:
        return Recorded()
    found = _SKLEARN_IN_SKOPS.search(text)
    return Recorded(
        scikit_learn=found.group(1).decode() if found else "", is_pickle=True, is_skops=True
    )


def _pickle(path: Path, head: bytes) -> Recorded:
    """One pass over the bytes: joblib puts array data between the opcodes of a pickle."""
    sklearn = xgboost = ""
    modules: dict[str, None] = {}
    try:
        for window in _windows(path, head):
            modules.update(dict.fromkeys(each.decode() for each in _MODULE.findall(window)))
            if not sklearn and (found := _SKLEARN_IN_PICKLE.search(window)):
                sklearn = found.group(1).decode()
            xgboost = xgboost or _xgboost_version(window)
            if sklearn and (xgboost or "xgboost" not in modules):
                break
    except (EOFError, OSError, zlib.error, lzma.LZMAError):
        return Recorded()
    if not modules:
        return Recorded()
    return Recorded(
        scikit_learn=sklearn,
        xgboost=xgboost if "xgboost" in modules else "",
        is_pickle=True,
        modules=tuple(sorted(modules)),
    )


def _windows(path: Path, head: bytes) -> Iterator[bytes]:
    """The content, decompressed, in pieces that overlap."""
    before = b""
    done = 0
    with _opened(path, head) as file:
        while done < _MAX_BYTES and (chunk := file.read(_CHUNK_BYTES)):
            yield before + chunk
            before = chunk[-_OVERLAP_BYTES:]
            done += len(chunk)


def _opened(path: Path, head: bytes) -> BinaryIO:
    if head.startswith(b"\x1f\x8b"):
        return cast(BinaryIO, gzip.open(path))
    if head.startswith(b"BZh"):
        return cast(BinaryIO, bz2.open(path))
    if head.startswith(_XZ):
        return cast(BinaryIO, lzma.open(path))
    if head.startswith(_ZLIB):
        return cast(BinaryIO, _ZlibReader(path))
    return path.open("rb")


class _ZlibReader:
    """A zlib stream (joblib's `.z`) as a file that can be read in pieces."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self._stream = zlib.decompressobj()

    def read(self, size: int) -> bytes:
        while not self._stream.eof:
            compressed = self._stream.unconsumed_tail or self._file.read(_CHUNK_BYTES)
            plain = self._stream.decompress(compressed, size)
            if plain or not compressed:
                return plain
        return b""

    def __enter__(self) -> _ZlibReader:
        return self

    def __exit__(self, *_: Any) -> None:
        self._file.close()


def _xgboost_version(data: bytes) -> str:
    if found := _XGBOOST_IN_UBJSON.search(data):
        return ".".join(str(part[0]) for part in found.groups())
    if found := _XGBOOST_IN_JSON.search(data):
        return b".".join(found.groups()).decode()
    return ""
