"""What the standard library raises for zip archives that cannot be read. A value only."""

from __future__ import annotations

import lzma
import zipfile
import zlib

UNREADABLE_ZIP: tuple[type[Exception], ...] = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    KeyError,
    OSError,
    ValueError,
    # An encrypted entry, a way of packing that it does not know, JSON nested without end.
    RuntimeError,
)
