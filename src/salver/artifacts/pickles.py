"""Reads which modules a pickle names, without unpickling it: no code of the file runs.

Owns decompression (joblib's zlib, gzip, bz2, xz, lzma), the walk over opcodes and their
bounds. Joblib writes array bytes between opcodes, so the walk ends at the first opcode that
makes no sense; the class of the model comes before any array. Refuses to say which runtime
serves what it read: that is `recognise.py`'s.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import pickletools
import re
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import msgspec

_MAX_OPCODES = 200_000
_MAX_BYTES = 4 << 20
_MODULE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*\Z")
PICKLE_START = re.compile(rb"\x80[\x02-\x05]|\(|c[A-Za-z_]")
_MODULE_IN_BYTES = re.compile(
    rb"(?:sklearn|xgboost|lightgbm|scipy|joblib)(?:\.[A-Za-z_][A-Za-z0-9_]*)+"
)

Global = tuple[str, str]
"""A module and the name in it."""


class PickleContents(msgspec.Struct, frozen=True):
    """`globals` in the order met, the first being the root object's class as a rule.

    `modules` also has those that only a scan of the bytes showed: good enough to import
    ahead of loading, not to decide by.
    """

    globals: tuple[Global, ...]
    modules: tuple[str, ...]


def _open_raw(path: Path) -> BinaryIO:
    return path.open("rb")


def _read_zlib(path: Path) -> bytes:
    with path.open("rb") as file:
        return zlib.decompressobj().decompress(file.read(_MAX_BYTES), _MAX_BYTES)


def _reader(opener: Callable[[Path], Any]) -> Callable[[Path], bytes]:
    def read(path: Path) -> bytes:
        with opener(path) as file:
            content: bytes = file.read(_MAX_BYTES)
            return content

    return read


_COMPRESSIONS: tuple[tuple[bytes, Callable[[Path], bytes]], ...] = (
    (b"\x1f\x8b", _reader(gzip.open)),
    (b"BZh", _reader(bz2.open)),
    (b"\xfd7zXZ", _reader(lzma.open)),
    (b"]\x00\x00", _reader(lzma.open)),
    (b"x\x01", _read_zlib),
    (b"x^", _read_zlib),
    (b"x\x9c", _read_zlib),
    (b"x\xda", _read_zlib),
)


def pickle_contents(path: Path, head: bytes) -> PickleContents | None:
    """What the file at `path`, which begins with `head`, names; None if it is no pickle."""
    content = _decompressed(path, head)
    if content is None or not PICKLE_START.match(content):
        return None
    found = tuple(_globals(content))
    modules = dict.fromkeys(module for module, _ in found)
    modules.update(
        dict.fromkeys(match.group().decode() for match in _MODULE_IN_BYTES.finditer(content))
    )
    if not found and not content.startswith(b"\x80"):
        return None
    return PickleContents(found, tuple(modules))


def _decompressed(path: Path, head: bytes) -> bytes | None:
    read = next((reader for magic, reader in _COMPRESSIONS if head.startswith(magic)), None)
    if read is None:
        read = _reader(_open_raw)
    try:
        return read(path)
    except (EOFError, OSError, zlib.error, lzma.LZMAError):
        return None


def _globals(content: bytes) -> Iterator[Global]:
    """The GLOBAL and STACK_GLOBAL references up to the first opcode that makes no sense.

    STACK_GLOBAL takes its two strings from the stack, where memo fetches may have put them;
    so the memo is followed for strings, and the last two strings seen stand for the stack.
    """
    strings: list[str] = []
    memo: dict[int, str] = {}
    try:
        for count, (opcode, argument, _) in enumerate(pickletools.genops(io.BytesIO(content))):
            if count > _MAX_OPCODES:
                return
            if opcode.name in ("GLOBAL", "INST"):
                module, _, name = str(argument).partition(" ")
                if _MODULE.match(module):
                    yield module, name
            elif opcode.name == "STACK_GLOBAL":
                if len(strings) >= 2 and _MODULE.match(strings[-2]):
                    yield strings[-2], strings[-1]
            else:
                _follow_strings(opcode.name, argument, strings, memo)
    except (ValueError, UnicodeDecodeError, OverflowError, MemoryError, IndexError):
        return


def _follow_strings(opcode: str, argument: Any, strings: list[str], memo: dict[int, str]) -> None:
    if isinstance(argument, str) and "UNICODE" in opcode:
        strings.append(argument)
    elif opcode == "MEMOIZE":
        memo[len(memo)] = strings[-1] if strings else ""
    elif opcode in ("PUT", "BINPUT", "LONG_BINPUT"):
        memo[int(argument)] = strings[-1] if strings else ""
    elif opcode in ("GET", "BINGET", "LONG_BINGET"):
        text = memo.get(int(argument), "")
        if text:
            strings.append(text)
    del strings[:-4]
